"""Losses as small pure functions, the same for all noise processes: a table says what differs."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler
from jaxtyping import Float, Int64
from torch import Tensor

from diffpc.diffusion.flow.schedule import noise_levels

Scheduler = DDIMScheduler | FlowMatchEulerDiscreteScheduler
"""Noise processes z_t = signal * z_0 + spread * noise; timesteps are 0 to 999 in all of them."""


@dataclass(frozen=True)
class _Prediction:
    """One meaning of a network's output."""

    target: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    """(z_0, noise, signal, spread) -> what it should be."""
    clean: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    """(prediction, z_t, signal, spread) -> the z_0 that it implies."""


_PREDICTIONS = {
    "epsilon": _Prediction(
        lambda _z_0, noise, _signal, _spread: noise,
        lambda noise, z_t, signal, spread: (z_t - spread * noise) / signal,  # Eq. 19
    ),
    "v_prediction": _Prediction(  # arXiv 2202.00512
        lambda z_0, noise, signal, spread: signal * noise - spread * z_0,
        lambda v, z_t, signal, spread: signal * z_t - spread * v,
    ),
    "velocity": _Prediction(  # rectified flow, arXiv 2403.03206, section 2: dz_t / dt
        lambda z_0, noise, _signal, _spread: noise - z_0,
        lambda v, z_t, _signal, spread: z_t - spread * v,
    ),
}


def noised(
    z_0: Float[Tensor, "B C H W"],
    noise: Float[Tensor, "B C H W"],
    timesteps: Int64[Tensor, " B"],
    scheduler: Scheduler,
) -> Float[Tensor, "B C H W"]:
    """z_t of Eq. 1: sqrt(abar_t) z_0 + sqrt(1 - abar_t) noise; in a rectified flow (1 - t) z_0 + t noise."""
    signal, spread = _levels(timesteps, scheduler, z_0)
    return signal * z_0 + spread * noise


def target(
    z_0: Float[Tensor, "B C H W"],
    noise: Float[Tensor, "B C H W"],
    timesteps: Int64[Tensor, " B"],
    scheduler: Scheduler,
) -> Float[Tensor, "B C H W"]:
    """What the network should predict, as the scheduler says.

    The noise; or v = sqrt(abar) noise - sqrt(1 - abar) z_0; or in a rectified flow the velocity noise - z_0.
    """
    return _prediction(scheduler).target(z_0, noise, *_levels(timesteps, scheduler, z_0))


def clean_estimate(
    prediction: Float[Tensor, "B C H W"],
    z_t: Float[Tensor, "B C H W"],
    timesteps: Int64[Tensor, " B"],
    scheduler: Scheduler,
) -> Float[Tensor, "B C H W"]:
    """z_0 as the prediction implies it: Eq. 19 for noise, its counterparts for v and for the velocity."""
    return _prediction(scheduler).clean(prediction, z_t, *_levels(timesteps, scheduler, z_t))


def diffusion_loss(
    prediction: Float[Tensor, "B C H W"],
    wanted: Float[Tensor, "B C H W"],
    weight: Float[Tensor, "B H W"] | None = None,
) -> Float[Tensor, " B"]:
    """L_diff of Eq. 18: each image's mean squared error, weighted if a weight is given."""
    errors = (prediction.float() - wanted.float()).square().mean(1)
    if weight is not None:
        errors = errors * weight / weight.mean(dim=(1, 2), keepdim=True)
    return errors.mean(dim=(1, 2))


def identity_loss(
    generated: Float[Tensor, "B D"], reference: Float[Tensor, "B D"], found: Float[Tensor, " B"]
) -> Float[Tensor, " B"]:
    """L_id of Eq. 20: each image's M_det * (1 - cosine).

    Args:
        generated: embeddings of the generated faces; the gradient flows through them.
        reference: embeddings of the reference faces.
        found: M_det, 0 or 1: whether a face was found; carries no gradient.
    """
    cosine = torch.nn.functional.cosine_similarity(generated.float(), reference.float(), dim=-1)
    return found.detach() * (1 - cosine)


def _prediction(scheduler: Scheduler) -> _Prediction:
    return _PREDICTIONS[scheduler.config.get("prediction_type", "velocity")]


def _levels(timesteps: Tensor, scheduler: Scheduler, like: Tensor) -> tuple[Tensor, Tensor]:
    """Signal and spread, shaped (B, 1, 1, 1): sqrt(abar_t) and sqrt(1 - abar_t), or 1 - t and t."""
    timesteps = timesteps.to(like.device)
    if isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
        spread = noise_levels(timesteps, scheduler)[:, None, None, None]
        return (1 - spread).to(like.dtype), spread.to(like.dtype)
    abar = scheduler.alphas_cumprod.to(like.device, torch.float32)[timesteps][:, None, None, None]
    return abar.sqrt().to(like.dtype), (1 - abar).sqrt().to(like.dtype)
