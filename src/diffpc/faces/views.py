"""Resized and rotated copies of a photo, and the way back from their coordinates to the photo's."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float

from diffpc.faces.align import Matrix, transform_points
from diffpc.types import Image


@dataclass(frozen=True)
class View:
    """A copy of a photo."""

    image: Image
    matrix: Matrix
    """Photo pixels -> pixels of this copy."""


def scaled_view(image: Image, scale: float) -> View:
    """Return a copy `scale` times as large in both directions (rounded to whole pixels)."""
    height, width = image.shape[:2]
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if size == (width, height):
        return View(image, np.eye(2, 3))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    copy = np.asarray(cv2.resize(image, size, interpolation=method), dtype=np.uint8)
    # OpenCV keeps the image's borders in place, so pixel centres move by half the difference in pixel size
    x, y = size[0] / width, size[1] / height
    return View(copy, np.array([[x, 0, (x - 1) / 2], [0, y, (y - 1) / 2]]))


def rotated_view(view: View, degrees: float) -> View:
    """Return a copy turned counter-clockwise, on a canvas (black outside) that holds all of it."""
    height, width = view.image.shape[:2]
    angle = math.radians(degrees)
    cosine, sine = round(math.cos(angle), 12), round(math.sin(angle), 12)
    linear = np.array([[cosine, sine], [-sine, cosine]])
    size = np.ceil(np.abs(linear) @ np.array([width, height]) - 1e-6).astype(int)
    centre, new_centre = np.array([width - 1, height - 1]) / 2, (size - 1) / 2
    turn = np.concatenate([linear, (new_centre - linear @ centre)[:, None]], axis=1)
    copy = cv2.warpAffine(view.image, turn, (int(size[0]), int(size[1])), flags=cv2.INTER_LINEAR)
    return View(np.asarray(copy, dtype=np.uint8), compose(turn, view.matrix))


def compose(second: Matrix, first: Matrix) -> Matrix:
    """Return the matrix that applies `first`, then `second`."""
    return np.concatenate([second[:, :2] @ first[:, :2], transform_points(first[:, 2:].T, second).T], axis=1)


def bounding_box(points: Float[np.ndarray, "N 2"]) -> tuple[float, float, float, float]:
    """Return x0, y0, x1, y1 around points."""
    (x0, y0), (x1, y1) = points.min(0), points.max(0)
    return float(x0), float(y0), float(x1), float(y1)
