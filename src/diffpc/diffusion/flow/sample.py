"""Euler's method along a rectified flow: the UNet's loop with another network and other steps."""

from dataclasses import dataclass

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel
from jaxtyping import Float
from torch import Tensor

from diffpc.diffusion.flow.adapter import FlowAdapter, FlowStep
from diffpc.diffusion.flow.schedule import Euler
from diffpc.diffusion.sample import (
    Conditions,
    Progress,
    SampleSettings,
    branches_of,
    guided,
    joined,
    walk,
)
from diffpc.errors import UsageError


@dataclass(frozen=True)
class FlowNetworks:
    """What runs at every step."""

    transformer: SD3Transformer2DModel
    adapter: FlowAdapter
    scheduler: FlowMatchEulerDiscreteScheduler


@torch.no_grad()
def denoise(
    networks: FlowNetworks,
    conditions: Conditions,
    without: Conditions | None,
    noise: Float[Tensor, "B C H W"],
    settings: SampleSettings,
    progress: Progress | None = None,
) -> Float[Tensor, "B C H W"]:
    """From pure noise to clean latents.

    Args:
        networks: the frozen transformer and the adapter.
        conditions: what to show.
        without: the same without prompt and identity, for guidance; ignored at guidance 1.
        noise: unit normal; any float dtype.
        settings: steps, guidance, strength; the size is the noise's.
        progress: called after each step.

    Returns:
        float32, shifted and scaled as the VAE's latents; only the networks run in their own type.

    Raises:
        UsageError: if guidance is asked for without something to push away from, or the transformer cannot draw
            the size.
    """
    transformer = networks.transformer
    _check_size(noise, transformer)
    branches = branches_of(conditions, without, settings.guidance)
    told, adapter = joined(branches), networks.adapter
    condition = adapter.condition(told.identity, told.z_3d, told.z_skin) if settings.strength else None

    euler = Euler(networks.scheduler)

    def advanced(timestep: Tensor, latents: Tensor) -> tuple[Tensor, Tensor]:
        z_t = latents.repeat(len(branches), 1, 1, 1).to(transformer.dtype)
        step = FlowStep(z_t, timestep.expand(len(z_t)), told.text)
        if condition is None:
            predicted = step.predict(transformer)
        else:
            with adapter.attached(transformer, step, condition, settings.strength):
                predicted = step.predict(transformer)
        return euler.step(guided(predicted.float(), len(branches), settings.guidance), timestep, latents)

    timesteps = euler.timesteps(settings.steps, noise.device)[settings.skipped :]
    return walk(timesteps, advanced, noise.float(), progress)


def _check_size(noise: Tensor, transformer: SD3Transformer2DModel) -> None:
    height, width = noise.shape[-2:]
    patch, most = transformer.config["patch_size"], transformer.config["pos_embed_max_size"]
    if height % patch or width % patch or max(height, width) > patch * most:
        raise UsageError(
            f"latents are {height} x {width}, expected multiples of {patch} up to {patch * most}; "
            "choose another size of the portrait"
        )
