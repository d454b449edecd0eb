"""Discriminators: networks that tell photos from what is drawn, and so teach to draw what is fine."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from diffpc.diffusion.conditioned import zeroed

QUICK = 10.0
"""What a discriminator's answers are multiplied by: at the generator's rate, so much faster it learns."""


class LevelDiscriminator(nn.Module):
    """Photo or not, place by place, from the feature maps of another network."""

    def __init__(self, widths: tuple[int, ...], hidden: int = 64) -> None:
        super().__init__()
        self.heads = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, hidden, 1),
                nn.GroupNorm(8, hidden),
                nn.LeakyReLU(0.2),
                nn.Conv2d(hidden, hidden, 3, padding=1),
                nn.GroupNorm(8, hidden),
                nn.LeakyReLU(0.2),
                _answer(hidden, 1),
            )
            for width in widths
        )

    def forward(self, features: tuple[Tensor, ...]) -> Float[Tensor, "B N"]:
        """Large for photos."""
        found = [head(one).flatten(1) for head, one in zip(self.heads, features, strict=True)]
        return QUICK * torch.cat(found, dim=1)


class PatchDiscriminator(nn.Module):
    """Photo or not, patch by patch of 34 pixels: pix2pix' network (arXiv 1611.07004) at half the depth."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        sizes = ((3, width), (width, 2 * width))
        halving = [
            layer
            for entering, leaving in sizes
            for layer in (nn.Conv2d(entering, leaving, 4, stride=2, padding=1), nn.LeakyReLU(0.2))
        ]
        self.layers = nn.Sequential(
            *halving,
            nn.Conv2d(2 * width, 4 * width, 4, padding=1),
            nn.GroupNorm(8, 4 * width),
            nn.LeakyReLU(0.2),
            _answer(4 * width, 4),
        )

    def forward(self, pictures: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B N"]:
        """Large for photos."""
        return self.layers(pictures).flatten(1)


def told_apart(
    discriminator: nn.Module, photo: tuple[Any, ...], drawn: tuple[Any, ...]
) -> Float[Tensor, " B"]:
    """The discriminator's lesson, the hinge loss; nobody else learns from it.

    Args:
        discriminator: gives large answers (B, N) for photos.
        photo: its arguments.
        drawn: the same of what was drawn, without gradient.
    """
    right = functional.relu(1 - discriminator(*photo)).mean(1)
    return right + functional.relu(1 + discriminator(*drawn)).mean(1)


def believed(discriminator: nn.Module, drawn: tuple[Any, ...]) -> Float[Tensor, " B"]:
    """What the discriminator thinks of what was drawn, without teaching it."""
    fixed = {name: value.detach() for name, value in discriminator.state_dict(keep_vars=True).items()}
    return functional_call(discriminator, fixed, drawn).mean(1)


def _answer(width: int, kernel: int) -> nn.Conv2d:
    """Undecided at first: what is said by chance would be obeyed."""
    return zeroed(nn.Conv2d(width, 1, kernel, padding=kernel // 4))
