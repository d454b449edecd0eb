"""Which square of a photo becomes the picture: a randomly enlarged box about the face."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np

from diffpc.curate.record import Box, Square
from diffpc.curate.settings import PhotoSettings
from diffpc.types import Image

TRIES = 12
"""Squares tried where black borders are to be avoided."""

MARGIN = 0.1
"""Of the face's box on each side, kept inside the square where the photo has it."""

FACE_HEIGHT = 0.45
"""Where in the square's height the face's centre is aimed at."""

SHIFT = 0.1
"""Greatest random shift of the square, in its sides."""

_EDGE = 0.03
"""Width of the border that is looked at, in sides of the square."""

_BLACK = 2
"""Greatest sample of a black pixel."""


def side_range(box: Box, frame: tuple[int, int], settings: PhotoSettings) -> tuple[float, float]:
    """Least and greatest side of a square, in photo pixels; least > greatest where there is none.

    Args:
        box: of the face.
        frame: width, height of the photo.
        settings: the paper's 2 % of face, and the least side.
    """
    width, height = box[2] - box[0], box[3] - box[1]
    low = max(settings.closest * max(width, height), float(settings.side))
    return low, min(float(min(frame)), (width * height / settings.face_share) ** 0.5)


def drawn_squares(
    box: Box, frame: tuple[int, int], sides: tuple[float, float], draw: random.Random
) -> Iterator[Square]:
    """TRIES random squares of the photo about a face, in the order in which they should be tried.

    The first is drawn from all of `sides`; the later ones are smaller, since they are tried to avoid black borders.
    """
    low, high = sides
    for number in range(TRIES):
        side = int(draw.uniform(low, high - (high - low) * number / TRIES))
        aims = [draw.uniform(-SHIFT, SHIFT) + aim for aim in (0.5, FACE_HEIGHT)]
        left, top = (_corner(box[axis], box[axis + 2], frame[axis], side, aims[axis]) for axis in (0, 1))
        yield Square(left, top, side)


def black_border(image: Image, square: Square) -> float:
    """Share of black pixels in a strip along the square's border."""
    rows, columns = slice(square.top, square.top + square.side), slice(square.left, square.left + square.side)
    part = image[rows, columns]
    edge = max(1, round(_EDGE * square.side))
    strips = (part[:edge], part[-edge:], part[edge:-edge, :edge], part[edge:-edge, -edge:])
    pixels = np.concatenate([strip.reshape(-1, 3) for strip in strips])
    return float((pixels.max(axis=1) <= _BLACK).mean())


def _corner(low: float, high: float, frame: int, side: int, aim: float) -> int:
    """Where the square begins along one axis: the face's centre at `aim`, the face inside, the photo not left."""
    margin = MARGIN * (high - low)
    wanted = (low + high) / 2 - aim * side
    inside = max(min(wanted, low - margin), high + margin - side)
    return int(min(max(round(inside), 0), frame - side))
