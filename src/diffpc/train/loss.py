"""Losses as small pure functions."""

import torch
from diffusers import DDIMScheduler
from jaxtyping import Float, Int64
from torch import Tensor


def noised(
    z_0: Float[Tensor, "B C H W"],
    noise: Float[Tensor, "B C H W"],
    timesteps: Int64[Tensor, " B"],
    scheduler: DDIMScheduler,
) -> Float[Tensor, "B C H W"]:
    """z_t of Eq. 1: sqrt(abar_t) z_0 + sqrt(1 - abar_t) noise."""
    signal, spread = _levels(timesteps, scheduler, z_0)
    return signal * z_0 + spread * noise


def target(
    z_0: Float[Tensor, "B C H W"],
    noise: Float[Tensor, "B C H W"],
    timesteps: Int64[Tensor, " B"],
    scheduler: DDIMScheduler,
) -> Float[Tensor, "B C H W"]:
    """What the network should predict.

    The noise; or v = sqrt(abar) noise - sqrt(1 - abar) z_0 (arXiv 2202.00512), as the scheduler says.
    """
    if scheduler.config["prediction_type"] == "epsilon":
        return noise
    signal, spread = _levels(timesteps, scheduler, z_0)
    return signal * noise - spread * z_0


def clean_estimate(
    prediction: Float[Tensor, "B C H W"],
    z_t: Float[Tensor, "B C H W"],
    timesteps: Int64[Tensor, " B"],
    scheduler: DDIMScheduler,
) -> Float[Tensor, "B C H W"]:
    """z_0 as the prediction implies it: Eq. 19 for noise, its counterpart for v."""
    signal, spread = _levels(timesteps, scheduler, z_t)
    if scheduler.config["prediction_type"] == "epsilon":
        return (z_t - spread * prediction) / signal
    return signal * z_t - spread * prediction


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


def _levels(timesteps: Tensor, scheduler: DDIMScheduler, like: Tensor) -> tuple[Tensor, Tensor]:
    """sqrt(abar_t) and sqrt(1 - abar_t), shaped (B, 1, 1, 1)."""
    timesteps = timesteps.to(like.device)
    abar = scheduler.alphas_cumprod.to(like.device, torch.float32)[timesteps][:, None, None, None]
    return abar.sqrt().to(like.dtype), (1 - abar).sqrt().to(like.dtype)
