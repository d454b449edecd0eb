"""Training of a small autoencoder: an encoder taught by another one's latents, then a decoder of its own."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from diffusers import AutoencoderKL
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from diffpc.train.positions import Drawn


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

    def frozen(self) -> Mapping[str, nn.Module]:
        """Nothing: the latents are given."""
        return {}

    def samples(self, seed: int) -> Drawn:
        """A picture and its latents."""
        return Drawn(seed, self._draw, _name)

    def losses(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Mean squared error of the posterior's mode."""
        found = self.vae.encode(batch["picture"], return_dict=False)[0].mode()
        return {"total": (found - batch["latents"]).square().mean(dim=(1, 2, 3))}

    def _draw(self, generator: torch.Generator) -> dict[str, Tensor]:
        index = torch.randint(len(self.images), (), generator=generator)
        return {"index": index, "picture": self.images[index], "latents": self.latents[index]}


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

    def frozen(self) -> Mapping[str, nn.Module]:
        """Nothing: the latents are given."""
        return {}

    def samples(self, seed: int) -> Drawn:
        """A window of a picture and of its latents."""
        return Drawn(seed, self._draw, _name)

    def losses(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Mean absolute error of the pixels and of their differences to their neighbours, which keeps edges sharp."""
        wanted = batch["picture"]
        drawn = self.vae.decode(batch["latents"] / self.vae.config["scaling_factor"], return_dict=False)[0]
        pixels = (drawn - wanted).abs().mean(dim=(1, 2, 3))
        across, down = (
            (drawn.diff(dim=dim) - wanted.diff(dim=dim)).abs().mean(dim=(1, 2, 3)) for dim in (2, 3)
        )
        return {"pixels": pixels, "edges": across + down, "total": pixels + across + down}

    def _draw(self, generator: torch.Generator) -> dict[str, Tensor]:
        """The same random window of a picture, in [-1, 1], and of its latents."""
        index = torch.randint(len(self.crops), (), generator=generator)
        scale = self.crops.shape[1] // self.latents.shape[-1]
        last = self.latents.shape[-1] - self.window + 1
        top, left = torch.randint(last, (2,), generator=generator).tolist()
        latents = self.latents[index, :, top : top + self.window, left : left + self.window].float()
        down, right, side = scale * top, scale * left, scale * self.window
        picture = self.crops[index, down : down + side, right : right + side]
        # Generated latents are never quite those of a photo.
        latents = latents + 0.05 * torch.randn(latents.shape, generator=generator)
        return {"index": index, "picture": picture.permute(2, 0, 1).float() / 127.5 - 1, "latents": latents}


def _name(sample: dict[str, Tensor]) -> str:
    return f"picture {int(sample['index'])}"


def _modules(*parts: nn.Module | None) -> nn.ModuleList:
    """The library makes the convolutions beside encoder and decoder optional."""
    return nn.ModuleList(part for part in parts if part is not None)
