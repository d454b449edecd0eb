"""DDIM with eta 0 in numbers that are known before the first step: no step waits for the device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from diffusers import DDIMScheduler
from jaxtyping import Float, Int64
from torch import Tensor

from diffpc.errors import UsageError

Estimates = tuple[Tensor, Tensor]
"""Of the clean latents, and of the noise in the noisy ones."""


@dataclass(frozen=True)
class Moment:
    """One step, from noise level t to the next one."""

    timestep: Int64[Tensor, ""]
    """t, as the networks are told it."""
    roots: Float[Tensor, "4"]
    """Square roots of abar and 1 - abar, at t and behind the step."""


def moments(scheduler: DDIMScheduler, steps: int, device: torch.device) -> list[Moment]:
    """All steps, on the device.

    Diffusers' scheduler looks alphas up by a timestep that is on the device: every step waits until all before it
    are done. Its numbers are the same, bit for bit.

    Args:
        scheduler: its noise schedule and spacing count; nothing is clipped.
        steps: of a whole portrait.
        device: of the latents.
    """
    scheduler.set_timesteps(steps)
    timesteps = scheduler.timesteps
    following = timesteps - int(scheduler.config["num_train_timesteps"]) // steps
    here = scheduler.alphas_cumprod[timesteps]
    behind = torch.where(
        following >= 0, scheduler.alphas_cumprod[following.clamp(min=0)], scheduler.final_alpha_cumprod
    )
    roots = torch.stack([here**0.5, (1 - here) ** 0.5, behind**0.5, (1 - behind) ** 0.5], dim=1)
    return [
        Moment(timestep, row) for timestep, row in zip(timesteps.to(device), roots.to(device), strict=True)
    ]


def _of_noise(predicted: Tensor, latents: Tensor, alpha: Tensor, beta: Tensor) -> Estimates:
    return (latents - beta * predicted) / alpha, predicted


def _of_velocity(predicted: Tensor, latents: Tensor, alpha: Tensor, beta: Tensor) -> Estimates:
    return alpha * latents - beta * predicted, alpha * predicted + beta * latents


PREDICTIONS: dict[str, Callable[[Tensor, Tensor, Tensor, Tensor], Estimates]] = {
    "epsilon": _of_noise,
    "v_prediction": _of_velocity,
}
"""What a network predicts -> the estimates, from the roots of abar and 1 - abar."""


def prediction(kind: str) -> Callable[[Tensor, Tensor, Tensor, Tensor], Estimates]:
    """What makes estimates of a prediction of that kind.

    Raises:
        UsageError: if there is none.
    """
    if kind not in PREDICTIONS:
        raise UsageError(
            f"the base predicts {kind!r}, expected one of: {', '.join(PREDICTIONS)}; choose another"
        )
    return PREDICTIONS[kind]


def advanced(
    kind: str, moment: Moment, predicted: Float[Tensor, "B C H W"], latents: Float[Tensor, "B C H W"]
) -> tuple[Float[Tensor, "B C H W"], Float[Tensor, "B C H W"]]:
    """Latents behind the step, and the estimate of the clean ones (arXiv 2010.02502, equation 12, sigma 0).

    Args:
        kind: of `PREDICTIONS`.
        moment: the step.
        predicted: what the network said.
        latents: what it was shown.

    Raises:
        UsageError: if the network predicts something else.
    """
    alpha, beta, next_alpha, next_beta = moment.roots.unbind()
    clean, noise = prediction(kind)(predicted, latents, alpha, beta)
    return next_alpha * clean + next_beta * noise, clean
