"""The denoising loop: explicit values in, latents out."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, TypeVar, cast

import torch
from diffusers import DDIMScheduler, LCMScheduler, UNet2DConditionModel
from jaxtyping import Float
from torch import Tensor

from diffpc.diffusion import ddim, lcm
from diffpc.diffusion.adapter import Adapter, Condition, Step
from diffpc.diffusion.backbone import TextCondition, size_conditions
from diffpc.diffusion.constants import constant_keys_values, keep
from diffpc.diffusion.injector import Strength
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
    compile: bool = False
    """Run each step as one compiled graph. The first portrait of a size and batch waits for the compiler; networks
    that are offloaded cannot be compiled."""
    seeds: tuple[int, ...] = ()
    """One per portrait; only LCM, which adds noise at every step, reads them."""


Progress = Callable[[int, Tensor], None]
"""Called after every step with the number of steps done and the current estimate of the clean latents."""

M = TypeVar("M")
"""What stands for a noise level."""


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
    branches = branches_of(conditions, without, settings.guidance)
    inputs = _prepare(networks, branches, settings)
    step = _compiled() if settings.compile else _step
    latents = noise.float() * networks.scheduler.init_noise_sigma
    steps = _moments(networks.scheduler, settings, noise)
    with constant_keys_values(networks.unet, networks.adapter.control):
        if settings.compile:
            _keep(networks, inputs)
        with _steering(networks, inputs) as predict:
            return walk(steps, partial(step, predict, inputs), latents, progress)


def walk(
    moments: Iterable[M],
    step: Callable[[M, Tensor], tuple[Tensor, Tensor]],
    latents: Float[Tensor, "B C H W"],
    progress: Progress | None = None,
) -> Float[Tensor, "B C H W"]:
    """The loop that all bases share.

    Args:
        moments: the noise levels, from the noisiest; what stands for one is the scheduler's affair.
        step: a moment and latents -> the latents behind the step, and the estimate of the clean ones.
        latents: float32, as noisy as the first moment expects.
        progress: called after each step.
    """
    for done, moment in enumerate(moments, start=1):
        latents, clean = step(moment, latents)
        if progress is not None:
            progress(done, clean)
    return latents


Predict = Callable[[Step], Tensor]
"""A step -> what the UNet predicts."""


def branches_of(conditions: Conditions, without: Conditions | None, guidance: float) -> list[Conditions]:
    """What the network is told, once or, for guidance, twice.

    Raises:
        UsageError: if guidance is asked for without something to push away from.
    """
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
    strength: Strength
    guidance: float | Tensor
    branches: int
    dtype: torch.dtype
    """Of the networks."""
    kind: str
    """What they predict."""


def _prepare(networks: Networks, branches: list[Conditions], settings: SampleSettings) -> _Inputs:
    told = joined(branches)
    tokens, pooled = told.text.tokens, told.text.pooled
    width, height = settings.size
    strength, guidance = settings.strength, settings.guidance
    steered = networks.adapter.condition(told.identity, told.z_3d, told.z_skin) if strength else None
    return _Inputs(
        text=tokens,
        added={"text_embeds": pooled, "time_ids": size_conditions(height, width, len(tokens), pooled)},
        condition=steered,
        # a compiled graph holds numbers fast, and would be made anew for each strength and guidance
        strength=tokens.new_full((1, 1, 1, 1), strength) if settings.compile else strength,
        guidance=torch.tensor(guidance, device=tokens.device) if settings.compile else guidance,
        branches=len(branches),
        dtype=networks.unet.dtype,
        kind=networks.scheduler.config["prediction_type"],
    )


def joined(branches: list[Conditions]) -> Conditions:
    """All branches in one batch."""
    return Conditions(
        text=TextCondition(
            torch.cat([branch.text.tokens for branch in branches]),
            torch.cat([branch.text.pooled for branch in branches]),
        ),
        identity=torch.cat([branch.identity for branch in branches]),
        z_3d=torch.cat([branch.z_3d for branch in branches]),
        z_skin=_skins(branches),
    )


def _skins(branches: list[Conditions]) -> Tensor | None:
    """z_skin of all branches, zeros where one has none."""
    if all(branch.z_skin is None for branch in branches):
        return None
    return torch.cat([torch.zeros_like(one.z_3d) if one.z_skin is None else one.z_skin for one in branches])


@contextmanager
def _steering(networks: Networks, inputs: _Inputs) -> Generator[Predict]:
    """How the UNet predicts: with the adapter, or alone."""
    unet = networks.unet
    if inputs.condition is None:
        yield (
            lambda step: (
                unet(
                    step.z_t, step.timesteps, encoder_hidden_states=step.text, added_cond_kwargs=step.added
                ).sample
            )
        )
        return
    with networks.adapter.steering(unet, inputs.condition, inputs.strength) as predict:
        yield predict


def _keep(networks: Networks, inputs: _Inputs) -> None:
    """Keys and values before the first step."""
    keep(networks.unet, inputs.text)
    if inputs.condition is not None:
        told = inputs.condition.identity if networks.adapter.attention is None else inputs.text
        keep(networks.adapter.control, told)


def guided(predicted: Tensor, branches: int, guidance: float | Tensor) -> Tensor:
    """Both branches' predictions -> theirs in one; of one branch, itself."""
    if branches == 1:
        return predicted
    wanted, unwanted = predicted.chunk(2)
    return unwanted + guidance * (wanted - unwanted)


def _moments(scheduler: Scheduler, settings: SampleSettings, noise: Tensor) -> Sequence[ddim.Moment]:
    if isinstance(scheduler, LCMScheduler):
        return lcm.moments(scheduler, settings.steps, settings.skipped, noise, settings.seeds)
    return ddim.moments(scheduler, settings.steps, noise.device)[settings.skipped :]


def _step(predict: Predict, inputs: _Inputs, moment: ddim.Moment, latents: Tensor) -> tuple[Tensor, Tensor]:
    """Latents behind a step, and the estimate of the clean ones."""
    z_t = latents.repeat(inputs.branches, 1, 1, 1).to(inputs.dtype)
    predicted = predict(Step(z_t, moment.timestep, inputs.text, inputs.added)).float()
    predicted = guided(predicted, inputs.branches, inputs.guidance)
    if isinstance(moment, lcm.Moment):
        return lcm.advanced(inputs.kind, moment, predicted, latents)
    return ddim.advanced(inputs.kind, moment, predicted, latents)


@cache
def _compiled() -> Callable[..., tuple[Tensor, Tensor]]:
    """`_step` as one graph with static shapes, the same wrapper for all portraits."""
    return torch.compile(_step, fullgraph=True, dynamic=False)
