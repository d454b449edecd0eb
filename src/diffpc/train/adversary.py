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
    """A photo of what is said or not, place by place, from the feature maps of another network.

    What is said enters as in the projection discriminator (arXiv 1802.05637): by a product with the features.
    """

    def __init__(self, widths: tuple[int, ...], phrases: int, hidden: int = 64) -> None:
        super().__init__()
        self.bodies = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, hidden, 1),
                nn.GroupNorm(8, hidden),
                nn.LeakyReLU(0.2),
                nn.Conv2d(hidden, hidden, 3, padding=1),
                nn.GroupNorm(8, hidden),
                nn.LeakyReLU(0.2),
            )
            for width in widths
        )
        self.answers = nn.ModuleList(_answer(hidden, 1) for _ in widths)
        self.said = nn.ModuleList(zeroed(nn.Linear(phrases, hidden, bias=False)) for _ in widths)

    def forward(self, features: tuple[Tensor, ...], phrases: Float[Tensor, "B P"]) -> Float[Tensor, "B N"]:
        """Large for photos of what the phrases, 1 or 0, say."""
        found: list[Tensor] = []
        for body, answer, said, one in zip(self.bodies, self.answers, self.said, features, strict=True):
            hidden = body(one)
            match = (said(phrases)[:, :, None, None] * hidden).sum(1)
            found.append((answer(hidden)[:, 0] + match).flatten(1))
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
    discriminator: nn.Module, photo: tuple[Any, ...], *others: tuple[Any, ...]
) -> Float[Tensor, " B"]:
    """The discriminator's lesson, the hinge loss; nobody else learns from it.

    Args:
        discriminator: gives large answers (B, N) for photos.
        photo: its arguments.
        others: the same of what it is to refuse, without gradient: what was drawn, or photos of something else.
    """
    right = functional.relu(1 - discriminator(*photo)).mean(1)
    wrong = [functional.relu(1 + discriminator(*one)).mean(1) for one in others]
    return right + torch.stack(wrong).mean(0)


def believed(discriminator: nn.Module, drawn: tuple[Any, ...]) -> Float[Tensor, " B"]:
    """What the discriminator thinks of what was drawn, without teaching it."""
    fixed = {name: value.detach() for name, value in discriminator.state_dict(keep_vars=True).items()}
    return functional_call(discriminator, fixed, drawn).mean(1)


def _answer(width: int, kernel: int) -> nn.Conv2d:
    """Undecided at first: what is said by chance would be obeyed."""
    return zeroed(nn.Conv2d(width, 1, kernel, padding=kernel // 4))
