"""The denoising loop: explicit values in, latents out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, cast

import torch
from diffusers import DDIMScheduler, LCMScheduler, UNet2DConditionModel
from diffusers.schedulers.scheduling_ddim import DDIMSchedulerOutput
from diffusers.schedulers.scheduling_lcm import LCMSchedulerOutput
from jaxtyping import Float
from torch import Tensor

from diffpc.diffusion.adapter import Adapter, Condition, Step
from diffpc.diffusion.backbone import TextCondition, size_conditions
from diffpc.diffusion.constants import constant_keys_values
from diffpc.errors import UsageError

Scheduler = DDIMScheduler | LCMScheduler


@dataclass(frozen=True)
class Networks:
    """What runs at every step."""

    unet: UNet2DConditionModel
    adapter: Adapter
    scheduler: Scheduler


@dataclass(frozen=True)
class Conditions:
    """What steers the portrait; constant over the steps. The batch is the number of portraits."""

    text: TextCondition
    """The prompt."""
    identity: Float[Tensor, "B N D"]
    """F'_id, the identity tokens."""
    z_3d: Float[Tensor, "B C H W"]
    """Latent of I_3d, times the scaling factor."""
    z_skin: Float[Tensor, "B C H W"] | None = None
    """The same of I_skin; None: no skin is known."""


@dataclass(frozen=True)
class SampleSettings:
    """How to denoise."""

    steps: int = 8
    """Network evaluations per portrait (Sec. 5.1)."""
    guidance: float = 1.0
    """Classifier-free guidance; at 1 the second branch is not run."""
    strength: float = 1.0
    """Identity strength s; at 0 the adapter is not run."""
    size: tuple[int, int] = (1024, 1024)
    """Width, height of the portrait in pixels."""
    skipped: int = 0
    """Steps left out at the beginning; the noise is then that of `renoised`."""
    seeds: tuple[int, ...] = ()
    """One per portrait; only LCM, which adds noise at every step, reads them."""


Progress = Callable[[int, Tensor], None]
"""Called after every step with the number of steps done and the current estimate of the clean latents."""


def initial_noise(shape: tuple[int, int, int], seeds: list[int]) -> Float[Tensor, "B C H W"]:
    """Noise on the CPU, one seed per portrait: a seed means the same on every device and in every batch.

    Args:
        shape: channels, height, width of the latents.
        seeds: one per portrait.
    """
    return torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


def renoised(
    scheduler: Scheduler,
    latents: Float[Tensor, "B C H W"],
    noise: Float[Tensor, "B C H W"],
    settings: SampleSettings,
) -> Float[Tensor, "B C H W"]:
    """Clean latents with as much noise as `denoise` expects after the skipped steps."""
    scheduler.set_timesteps(settings.steps, device=noise.device)
    begin = cast(torch.IntTensor, scheduler.timesteps[settings.skipped : settings.skipped + 1])
    return scheduler.add_noise(latents.float(), noise.float(), begin)


@torch.no_grad()
def denoise(
    networks: Networks,
    conditions: Conditions,
    without: Conditions | None,
    noise: Float[Tensor, "B C H W"],
    settings: SampleSettings,
    progress: Progress | None = None,
) -> Float[Tensor, "B C H W"]:
    """DDIM with eta 0 (method.md, point 14), or LCM, from pure noise to clean latents.

    Args:
        networks: the frozen UNet and the adapter.
        conditions: what to show.
        without: the same without prompt and identity, for guidance; ignored at guidance 1.
        noise: unit normal, or of `renoised`; any float dtype.
        settings: steps, guidance, strength, size.
        progress: called after each step.

    Returns:
        float32, times the VAE's scaling factor; only the networks run in their own type.

    Raises:
        UsageError: if guidance is asked for without something to push away from.
    """
    branches = _branches(conditions, without, settings.guidance)
    inputs = _prepare(networks, branches, settings)
    scheduler = networks.scheduler
    scheduler.set_timesteps(settings.steps, device=noise.device)
    latents = noise.float() * scheduler.init_noise_sigma
    generators = _generators(settings.seeds, noise) if isinstance(scheduler, LCMScheduler) else []
    with constant_keys_values(networks.unet, networks.adapter.control):
        for done, timestep in enumerate(scheduler.timesteps[settings.skipped :], start=1):
            predicted = _predict(networks, inputs, latents.repeat(len(branches), 1, 1, 1), timestep)
            predicted = _guided(predicted, len(branches), settings.guidance)
            latents, estimate = _stepped(scheduler, predicted, timestep, latents, generators)
            if progress is not None:
                progress(done, estimate)
    return latents


def _generators(seeds: tuple[int, ...], noise: Tensor) -> list[torch.Generator]:
    """One per portrait on the CPU, as drawing the first noise left it.

    Raises:
        UsageError: if a portrait has no seed.
    """
    if len(seeds) != len(noise):
        raise UsageError(
            f"LCM adds noise at every step: {len(noise)} portraits need as many seeds, not {len(seeds)}"
        )
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    for generator in generators:
        torch.randn(noise.shape[1:], generator=generator)
    return generators


def _stepped(
    scheduler: Scheduler,
    predicted: Tensor,
    timestep: Tensor,
    latents: Tensor,
    generators: list[torch.Generator],
) -> tuple[Tensor, Tensor]:
    """The next latents, and the estimate of the clean ones."""
    if isinstance(scheduler, LCMScheduler):
        # Any: declared as one generator; a list has one for each portrait.
        step = scheduler.step(predicted, cast(int, timestep), latents, generator=cast(Any, generators))
        step = cast(LCMSchedulerOutput, step)
        return step.prev_sample, cast(Tensor, step.denoised)
    step = scheduler.step(predicted, cast(int, timestep), latents, eta=0.0)
    step = cast(DDIMSchedulerOutput, step)
    return step.prev_sample, cast(Tensor, step.pred_original_sample)


def _branches(conditions: Conditions, without: Conditions | None, guidance: float) -> list[Conditions]:
    if guidance == 1:
        return [conditions]
    if without is None:
        raise UsageError(f"guidance {guidance} needs conditions to push away from; pass them, or guidance 1")
    return [conditions, without]


@dataclass(frozen=True)
class _Inputs:
    """Both branches in one batch, and everything that is computed once per image."""

    text: Tensor
    added: dict[str, Any]
    condition: Condition | None
    strength: float


def _prepare(networks: Networks, branches: list[Conditions], settings: SampleSettings) -> _Inputs:
    text = torch.cat([branch.text.tokens for branch in branches])
    pooled = torch.cat([branch.text.pooled for branch in branches])
    width, height = settings.size
    identity = torch.cat([branch.identity for branch in branches])
    z_3d = torch.cat([branch.z_3d for branch in branches])
    return _Inputs(
        text=text,
        added={"text_embeds": pooled, "time_ids": size_conditions(height, width, len(text), pooled)},
        condition=networks.adapter.condition(identity, z_3d, _skins(branches)) if settings.strength else None,
        strength=settings.strength,
    )


def _skins(branches: list[Conditions]) -> Tensor | None:
    """z_skin of all branches, zeros where one has none."""
    if all(branch.z_skin is None for branch in branches):
        return None
    return torch.cat([torch.zeros_like(one.z_3d) if one.z_skin is None else one.z_skin for one in branches])


def _predict(networks: Networks, inputs: _Inputs, latents: Tensor, timestep: Tensor) -> Tensor:
    unet = networks.unet
    latents = latents.to(unet.dtype)
    steered = nullcontext()
    if inputs.condition is not None:
        step = Step(latents, timestep, inputs.text, inputs.added)
        steered = networks.adapter.attached(unet, step, inputs.condition, inputs.strength)
    with steered:
        return unet(
            latents, timestep, encoder_hidden_states=inputs.text, added_cond_kwargs=inputs.added
        ).sample.float()


def _guided(predicted: Tensor, branches: int, guidance: float) -> Tensor:
    if branches == 1:
        return predicted
    wanted, unwanted = predicted.chunk(2)
    return unwanted + guidance * (wanted - unwanted)
