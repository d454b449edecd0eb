"""Oriented gradients of an aligned face: features that no training made and nobody conditions on.

Histograms of oriented gradients (Dalal & Triggs, CVPR 2005) in cells of several sizes, with bilinear votes between
orientations, a square root, and each cell scaled by the energy around it. Differentiable almost everywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

_SMALL = 1e-4


@dataclass(frozen=True)
class GradientSettings:
    """What decides the length and the meaning of the features."""

    size: int = 96
    """Side of the chip in pixels."""
    orientations: int = 12
    """Bins over a whole turn: light-dark and dark-light edges differ."""
    cells: tuple[int, ...] = (6, 8, 12)
    """Sides of the cells in pixels; each divides the size."""

    @property
    def dimension(self) -> int:
        """Length of the features."""
        return sum((self.size // cell) ** 2 for cell in self.cells) * self.orientations


class OrientedGradients(nn.Module):
    """Chips -> features, without parameters."""

    directions: Tensor

    def __init__(self, settings: GradientSettings) -> None:
        super().__init__()
        self.settings = settings
        turns = torch.arange(settings.orientations) * (2 * math.pi / settings.orientations)
        directions = torch.stack([turns.cos(), turns.sin()], dim=1)
        self.register_buffer("directions", directions, persistent=False)

    def forward(self, chips: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B D"]:
        """RGB in [-1, 1] -> D = settings.dimension values; the image's contrast does not matter."""
        votes = self._votes(chips.mean(1, keepdim=True))
        return torch.cat([self._cells(votes, cell).flatten(1) for cell in self.settings.cells], dim=1)

    def _votes(self, grey: Float[Tensor, "B 1 S S"]) -> Float[Tensor, "B O S S"]:
        """Each pixel's gradient, shared between the two nearest directions."""
        padded = functional.pad(grey, (1, 1, 1, 1), mode="replicate")
        across = padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]
        down = padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]
        length = (across.square() + down.square() + _SMALL**2).sqrt()
        along = torch.einsum("od,bdhw->bohw", self.directions, torch.cat([across, down], dim=1)) / length
        # The cosine to the neighbouring direction is where its share ends.
        edge = math.cos(2 * math.pi / self.settings.orientations)
        return ((along - edge) / (1 - edge)).clamp(min=0) * length

    def _cells(self, votes: Float[Tensor, "B O S S"], cell: int) -> Float[Tensor, "B O C C"]:
        found = functional.avg_pool2d(votes, cell)
        energy = functional.avg_pool2d(found.square().sum(1, keepdim=True), 3, 1, 1, count_include_pad=False)
        return (found / (energy + _SMALL).sqrt() + _SMALL).sqrt()


def with_mirror(network: nn.Module, chips: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B D"]:
    """The mean of what a network says of chips and of their mirror images."""
    return (network(chips) + network(chips.flip(-1))) / 2
