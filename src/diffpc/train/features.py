"""What collated samples tell the ID-Encoder and, of the reference's skin, ID-Ctrl."""

from collections.abc import Mapping

import torch
from diffusers import AutoencoderKL
from jaxtyping import Float
from torch import Tensor

from diffpc.diffusion.backbone import scaled
from diffpc.identity.local import LocalFeatures


def patch_features(batch: Mapping[str, Tensor], local: LocalFeatures | None) -> Float[Tensor, "B L d2"]:
    """F_local: as the samples hold it, or of their crops.

    Raises:
        ValueError: if they hold crops and there is nothing to look at them.
    """
    if "patches" in batch:
        return batch["patches"].float()
    if local is None:
        raise ValueError("the samples hold crops; the task needs the local features' network to look at them")
    return local(batch["crop"]).float()


def kept_features(
    batch: Mapping[str, Tensor], local: LocalFeatures | None
) -> tuple[Float[Tensor, "B 1 d1"], Float[Tensor, "B L d2"]]:
    """F_global and F_local, zeros where they are dropped (Sec. 4.5)."""
    vectors = batch["vector"].float() * batch["kept_global"][:, None, None]
    return vectors, patch_features(batch, local) * batch["kept_local"][:, None, None]


@torch.no_grad()
def latents_of(pictures: Float[Tensor, "B 3 H W"], vae: AutoencoderKL) -> Float[Tensor, "B C h w"]:
    """Posterior modes, scaled (method.md, point 2), on the VAE's device and of its type."""
    mode = vae.encode(pictures.to(vae.device, vae.dtype), return_dict=False)[0].mode()
    return scaled(mode, vae)


def skin_latents(batch: Mapping[str, Tensor], vae: AutoencoderKL) -> Float[Tensor, "B C h w"] | None:
    """z_skin, zeros where it is dropped; None of samples without skin. It depends on both photos: no cache has it."""
    if "i_skin" not in batch:
        return None
    return latents_of(batch["i_skin"], vae).float() * batch["kept_skin"][:, None, None, None]
