"""L_diff, L_id and L_total (Eq. 18, 20, 21) of whatever predicts: the same for all bases."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from diffusers import AutoencoderKL
from jaxtyping import Float
from torch import Tensor

from diffpc.diffusion.backbone import downscale, unscaled
from diffpc.faces.embed import FaceEmbedder
from diffpc.train import loss
from diffpc.train.settings import IdentityLoss
from diffpc.types import LandmarkLayout


@dataclass(frozen=True)
class Judge:
    """The frozen parts that the ID loss looks through."""

    decoder: AutoencoderKL
    """Decodes z0_hat: the VAE itself, or a smaller one."""
    embedder: FaceEmbedder
    """E_global."""
    layout: LandmarkLayout
    """Of the landmarks in the data."""


@dataclass(frozen=True)
class Objective:
    """What a prediction is compared with."""

    scheduler: loss.Scheduler
    """The base's noise process, and what its network predicts."""
    judge: Judge | None = None
    """For the ID loss; without it there is none."""
    identity: IdentityLoss = field(default_factory=IdentityLoss)
    """Its weight and place."""
    face_weight: float = 1.0
    """How much more an error counts where the samples' face (H, W) is 1."""

    def losses(
        self, predict: Callable[[Tensor, Mapping[str, Tensor]], Tensor], batch: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """The terms (B,) of a batch.

        Args:
            predict: (z_t, batch) -> the network's output.
            batch: z_0, noise, timestep; for the ID loss landmarks and vector; face where its weight is not 1.
        """
        z_0, noise, timesteps = batch["z_0"].float(), batch["noise"], batch["timestep"]
        z_t = loss.noised(z_0, noise, timesteps, self.scheduler)
        prediction = predict(z_t, batch)
        wanted = loss.target(z_0, noise, timesteps, self.scheduler)
        diffusion = loss.diffusion_loss(prediction, wanted, self._weight(batch))
        if self.judge is None or not self.identity.weight:
            return {"diffusion": diffusion, "total": diffusion}
        clean = loss.clean_estimate(prediction.float(), z_t, timesteps, self.scheduler)
        identity = identity_terms(clean, batch, self.judge, self.identity)
        total = diffusion + self.identity.weight * identity
        return {"diffusion": diffusion, "identity": identity, "total": total}

    def _weight(self, batch: Mapping[str, Tensor]) -> Float[Tensor, "B H W"] | None:
        return None if self.face_weight == 1 else 1 + (self.face_weight - 1) * batch["face"].float()


def identity_terms(
    clean: Float[Tensor, "B C H W"], batch: Mapping[str, Tensor], judge: Judge, settings: IdentityLoss
) -> Float[Tensor, " B"]:
    """Eq. 20 where the image is clean enough, 0 elsewhere; the gradient runs through decoder and embedder.

    Args:
        clean: estimates of the clean latents.
        batch: their timestep, landmarks and, of the reference, vector.
        judge: what looks.
        settings: where it applies.
    """
    chosen = (batch["timestep"] <= settings.until).nonzero().flatten()
    if len(chosen) == 0:
        return clean.new_zeros(len(clean))
    scale = downscale(judge.decoder)
    latents, landmarks = face_windows(clean[chosen], batch["landmarks"][chosen], settings.window, scale)
    decoder: Any = judge.decoder  # its latents are declared as tensors of one type
    pictures = decoder.decode(unscaled(latents, judge.decoder), return_dict=False)[0].float()
    with torch.autocast(pictures.device.type, enabled=False):
        vectors = judge.embedder.embed(pictures, landmarks, judge.layout)
    found = torch.ones(len(chosen), device=clean.device)
    terms = loss.identity_loss(vectors, batch["vector"][chosen, 0].float(), found)
    return clean.new_zeros(len(clean)).index_put((chosen,), terms)


def face_windows(
    clean: Float[Tensor, "B C H W"], landmarks: Float[Tensor, "B N 2"], side: int | None, scale: int
) -> tuple[Float[Tensor, "B C h w"], Float[Tensor, "B N 2"]]:
    """Squares of latents around the faces, and the landmarks in them.

    Args:
        clean: latents.
        landmarks: in pixels.
        side: of the squares, in latents; None leaves all as it is.
        scale: pixels per latent.
    """
    if side is None or side >= min(clean.shape[-2:]):
        return clean, landmarks
    last = landmarks.new_tensor([clean.shape[-1] - side, clean.shape[-2] - side])
    corners = (landmarks.mean(1) / scale - side / 2).round().clamp(min=landmarks.new_zeros(2), max=last)
    windows = [
        one[:, top : top + side, left : left + side]
        for one, (left, top) in zip(clean, corners.long().tolist(), strict=True)
    ]
    return torch.stack(windows), landmarks - scale * corners[:, None]
