"""Training of a small autoencoder: an encoder taught by another one's latents, then a decoder of its own."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from diffusers import AutoencoderKL
from jaxtyping import Float, UInt8
from torch import Tensor, nn


class EncoderTask:
    """The encoder learns given latents, so that its latent space is as smooth as its teacher's."""

    def __init__(
        self, vae: AutoencoderKL, images: Float[Tensor, "N 3 H W"], latents: Float[Tensor, "N C h w"]
    ) -> None:
        self.vae, self.images, self.latents = vae, images, latents
        self.parts = _modules(vae.encoder, vae.quant_conv)

    def modules(self) -> Mapping[str, nn.Module]:
        """Encoder and the convolution behind it."""
        return {"encoder": self.parts}

    def losses(self, batch: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Mean squared error of the posterior's mode."""
        index = torch.randint(len(self.images), (batch,), generator=generator)
        found = self.vae.encode(self.images[index], return_dict=False)[0].mode()
        return {"total": (found - self.latents[index]).square().mean()}


class DecoderTask:
    """The decoder learns to draw from the frozen encoder's latents, in and a little beside their exact place."""

    def __init__(
        self,
        vae: AutoencoderKL,
        crops: UInt8[Tensor, "N H W 3"],
        latents: Float[Tensor, "N C h w"],
        window: int | None = None,
    ) -> None:
        """Set the lesson.

        Args:
            vae: its encoder made the latents.
            crops: the pictures.
            latents: of the pictures, times the scaling factor.
            window: side of the latent windows that are drawn, a divisor of w; all of a picture by default. The
                decoder is convolutional: half the side costs a quarter and teaches nearly as much.
        """
        self.vae, self.crops, self.latents = vae, crops, latents
        self.window = window or latents.shape[-1]
        self.parts = _modules(vae.decoder, vae.post_quant_conv)

    def modules(self) -> Mapping[str, nn.Module]:
        """Decoder and the convolution before it."""
        return {"decoder": self.parts}

    def losses(self, batch: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Mean absolute error of the pixels and of their differences to their neighbours, which keeps edges sharp."""
        index = torch.randint(len(self.crops), (batch,), generator=generator)
        wanted, latents = self._window(index, generator)
        # Generated latents are never quite those of a photo.
        latents = latents + 0.05 * torch.randn(latents.shape, generator=generator)
        drawn = self.vae.decode(latents / self.vae.config["scaling_factor"], return_dict=False)[0]
        pixels = (drawn - wanted).abs().mean()
        edges = sum((_differences(drawn, dim) - _differences(wanted, dim)).abs().mean() for dim in (2, 3))
        return {"pixels": pixels, "edges": torch.as_tensor(edges), "total": pixels + edges}

    def _window(self, index: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The same random window of pictures, in [-1, 1], and of their latents."""
        scale = self.crops.shape[1] // self.latents.shape[-1]
        last = self.latents.shape[-1] - self.window + 1
        top, left = torch.randint(last, (2,), generator=generator).tolist()
        rows, columns = slice(top, top + self.window), slice(left, left + self.window)
        latents = self.latents[index][:, :, rows, columns].float()
        pixel_rows = slice(scale * top, scale * (top + self.window))
        pixel_columns = slice(scale * left, scale * (left + self.window))
        pictures = self.crops[index][:, pixel_rows, pixel_columns]
        return pictures.permute(0, 3, 1, 2).float() / 127.5 - 1, latents


def _differences(images: Tensor, dim: int) -> Tensor:
    return images.diff(dim=dim)


def _modules(*parts: nn.Module | None) -> nn.ModuleList:
    """The library makes the convolutions beside encoder and decoder optional."""
    return nn.ModuleList(part for part in parts if part is not None)
