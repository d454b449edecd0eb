"""Training of a small autoencoder: whole, or an encoder taught by another one's latents and then a decoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from diffusers import AutoencoderKL
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from diffpc.diffusion.backbone import downscale, unscaled
from diffpc.faces.embed import FaceEmbedder
from diffpc.train.adversary import PatchDiscriminator, believed, told_apart
from diffpc.train.loss import identity_loss
from diffpc.train.positions import Drawn
from diffpc.types import LandmarkLayout

KL_WEIGHT = 1e-4
"""Keeps the posterior from becoming a point; small, or faces blur."""

POWER_WEIGHT = 0.1
"""Keeps scaled latents near unit variance, as the noise schedule expects."""


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


class VAETask:
    """Encoder and decoder together: what is drawn from a picture's latents should be the picture."""

    def __init__(
        self, vae: AutoencoderKL, pictures: UInt8[Tensor, "N 3 H W"], window: int | None = None
    ) -> None:
        """Set the lesson.

        Args:
            vae: the networks.
            pictures: to draw.
            window: side of the windows of the pictures that are drawn, in latents; all of a picture by default.
        """
        self.vae, self.pictures = vae, pictures
        self.scale = downscale(vae)
        self.window = window or pictures.shape[-1] // self.scale

    def modules(self) -> Mapping[str, nn.Module]:
        """All of it."""
        return {"vae": self.vae}

    def frozen(self) -> Mapping[str, nn.Module]:
        """Nothing."""
        return {}

    def samples(self, seed: int) -> Drawn:
        """A window of a picture, and noise for the posterior."""
        return Drawn(seed, self._draw, _name)

    def losses(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Pixels, edges, and what keeps latents smooth and of the size that `scaling_factor` expects."""
        posterior = self.vae.encode(batch["picture"], return_dict=False)[0]
        latents = posterior.mean + posterior.std * batch["noise"]
        drawn = self.vae.decode(cast(torch.FloatTensor, latents), return_dict=False)[0]
        terms = drawing_terms(drawn, batch["picture"])
        kl = posterior.kl() / latents[0].numel()
        power = (self.vae.config["scaling_factor"] * posterior.mean).square().mean(dim=(1, 2, 3))
        total = terms["pixels"] + terms["edges"] + KL_WEIGHT * kl + POWER_WEIGHT * (power - 1).square()
        return {**terms, "kl": kl, "power": power, "total": total}

    def _draw(self, generator: torch.Generator) -> dict[str, Tensor]:
        index = torch.randint(len(self.pictures), (), generator=generator)
        top, left = _corner(self.pictures.shape[-1] // self.scale, self.window, generator)
        shape = (int(self.vae.config["latent_channels"]), self.window, self.window)
        return {
            "index": index,
            "picture": _window(self.pictures[index], self.scale, top, left, self.window),
            "noise": torch.randn(shape, generator=generator),
        }


@dataclass(frozen=True)
class Faces:
    """Where the pictures' faces are, and who looks at them: a face may be sharp and somebody else's."""

    landmarks: Float[Tensor, "N 5 2"]
    """Pixels of the pictures."""
    layout: LandmarkLayout
    embedder: FaceEmbedder
    weight: float
    """Of the ID loss, the term of Eq. 20 with the picture itself for reference."""


class DecoderTask:
    """The decoder learns to draw from the frozen encoder's latents, in and a little beside their exact place."""

    def __init__(
        self,
        vae: AutoencoderKL,
        pictures: UInt8[Tensor, "N 3 H W"],
        latents: Float[Tensor, "N C h w"],
        window: int | None = None,
        faces: Faces | None = None,
        realism: float = 0.0,
    ) -> None:
        """Set the lesson.

        Args:
            vae: its encoder made the latents.
            pictures: to draw.
            latents: of the pictures, times the scaling factor.
            window: side of the latent windows that are drawn; all of a picture by default. The decoder is
                convolutional: half the side costs a quarter and teaches nearly as much.
            faces: for an ID loss; windows are then about the faces.
            realism: of a discriminator's gradient, in gradients of the other terms at the last layer; 0 has none.
        """
        self.vae, self.pictures, self.latents, self.faces = vae, pictures, latents, faces
        self.window = window or latents.shape[-1]
        self.parts, self.realism = decoder_parts(vae), realism
        self.discriminator = PatchDiscriminator() if realism else None

    def modules(self) -> Mapping[str, nn.Module]:
        """Decoder and the convolution before it, and the discriminator."""
        found: dict[str, nn.Module] = {"decoder": self.parts}
        return found if self.discriminator is None else {**found, "discriminator": self.discriminator}

    def frozen(self) -> Mapping[str, nn.Module]:
        """What looks at faces: the latents are given."""
        embedder = self.faces.embedder if self.faces else None
        return {"embedder": embedder} if isinstance(embedder, nn.Module) else {}

    def samples(self, seed: int) -> Drawn:
        """A window of a picture and of its latents."""
        return Drawn(seed, self._draw, _name)

    def losses(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Pixels, edges and the face."""
        # The library's word for any tensor.
        given = cast("torch.FloatTensor", unscaled(batch["latents"], self.vae))
        drawn = self.vae.decode(given, return_dict=False)[0]
        terms = drawing_terms(drawn, batch["picture"])
        total = terms["pixels"] + terms["edges"]
        if self.faces is not None:
            terms["identity"] = self._identity_loss(drawn, batch, self.faces)
            total = total + self.faces.weight * terms["identity"]
        if self.discriminator is None:
            return {**terms, "total": total}
        realism = -believed(self.discriminator, (drawn,))
        lesson = told_apart(self.discriminator, (batch["picture"],), (drawn.detach(),))
        total = total + self._weight(total, realism) * realism + lesson
        return {**terms, "realism": realism, "discriminator": lesson, "total": total}

    def _weight(self, total: Tensor, realism: Tensor) -> Tensor:
        """What makes the discriminator's gradient at the last layer the wanted share of the others' (VQGAN, Eq. 7)."""
        if not total.requires_grad:
            return total.new_zeros(())
        last = self.vae.decoder.conv_out.weight
        sizes = [
            torch.autograd.grad(term.mean(), last, retain_graph=True)[0].norm() for term in (total, realism)
        ]
        return self.realism * (sizes[0] / (sizes[1] + 1e-6)).clamp(max=1e3).detach()

    def _identity_loss(self, drawn: Tensor, batch: Mapping[str, Tensor], faces: Faces) -> Float[Tensor, " B"]:
        """1 - cosine of the drawn face's vector and the picture's."""
        embed, places = faces.embedder.embed, batch["landmarks"]
        with torch.autocast(
            drawn.device.type, enabled=False
        ):  # persons differ by less than bfloat16 can tell
            with torch.no_grad():
                wanted = embed(batch["picture"], places, faces.layout)
            found = embed(drawn.float(), places, faces.layout)
        return identity_loss(found, wanted, torch.ones(len(found), device=found.device))

    def _draw(self, generator: torch.Generator) -> dict[str, Tensor]:
        """The same random window of a picture, in [-1, 1], and of its latents."""
        index = torch.randint(len(self.pictures), (), generator=generator)
        top, left = self._corner(index, generator)
        latents = self.latents[index, :, top : top + self.window, left : left + self.window].float()
        return {
            "index": index,
            "picture": _window(self.pictures[index], downscale(self.vae), top, left, self.window),
            # Generated latents are never quite those of a photo.
            "latents": latents + 0.05 * torch.randn(latents.shape, generator=generator),
            **self._landmarks(index, top, left),
        }

    def _corner(self, index: Tensor, generator: torch.Generator) -> tuple[int, int]:
        """Of a window anywhere, or within a latent of the face's middle."""
        if self.faces is None:
            return _corner(self.latents.shape[-1], self.window, generator)
        middle = self.faces.landmarks[index].mean(0) / downscale(self.vae)
        corner = middle - self.window / 2 + 2 * torch.rand(2, generator=generator) - 1
        left, top = corner.round().clamp(0, self.latents.shape[-1] - self.window).long().tolist()
        return top, left

    def _landmarks(self, index: Tensor, top: int, left: int) -> dict[str, Tensor]:
        """Pixels of the window."""
        if self.faces is None:
            return {}
        corner = torch.tensor([left, top]) * downscale(self.vae)
        return {"landmarks": self.faces.landmarks[index] - corner}


def decoder_parts(vae: AutoencoderKL) -> nn.ModuleList:
    """What draws."""
    return _modules(vae.decoder, vae.post_quant_conv)


def drawing_terms(
    drawn: Float[Tensor, "B 3 H W"], wanted: Float[Tensor, "B 3 H W"]
) -> dict[str, Float[Tensor, " B"]]:
    """Mean absolute error of the pixels and of their differences to their neighbours, which keeps edges sharp."""
    across, down = ((drawn.diff(dim=dim) - wanted.diff(dim=dim)).abs().mean(dim=(1, 2, 3)) for dim in (2, 3))
    return {"pixels": (drawn - wanted).abs().mean(dim=(1, 2, 3)), "edges": across + down}


def _corner(side: int, window: int, generator: torch.Generator) -> tuple[int, int]:
    """Top and left of a random window, in latents."""
    top, left = torch.randint(side - window + 1, (2,), generator=generator).tolist()
    return top, left


def _window(picture: Tensor, scale: int, top: int, left: int, side: int) -> Tensor:
    """A window given in latents, in [-1, 1]."""
    rows, columns = (slice(scale * start, scale * (start + side)) for start in (top, left))
    return picture[:, rows, columns].float() / 127.5 - 1


def _name(sample: dict[str, Tensor]) -> str:
    return f"picture {int(sample['index'])}"


def _modules(*parts: nn.Module | None) -> nn.ModuleList:
    """The library makes the convolutions beside encoder and decoder optional."""
    return nn.ModuleList(part for part in parts if part is not None)
