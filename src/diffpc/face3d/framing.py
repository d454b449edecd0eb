"""Which square of the photo the light predictor looks at: levelled by the eyes, as large as the face wants.

Unlike SMIRK's crops these squares may be turned. FaceParams only ever hold upright crops:
`levelled_to_upright` takes the predictor's answer back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from diffpc.face3d.pose import tilted
from diffpc.types import Crop, Face, LandmarkLayout

MARGIN = 1.35
"""The square's side, in sides of the levelled box around the 468 points."""

DROP = 0.204
"""The box's centre lies this share of its size below the middle of the eyes (training photos' median)."""

RESOLUTION = 96
"""Side of the square in pixels, for the shipped predictor."""


@dataclass(frozen=True)
class Square:
    """A square of the photo, turned clockwise by `roll`, resampled to `resolution` pixels a side."""

    centre: tuple[float, float]
    """x, y in photo pixels."""
    size: float
    """Side in photo pixels."""
    roll: float
    """Degrees, clockwise in the image: that of the head, which then appears upright in the square."""
    resolution: int = RESOLUTION

    @property
    def upright(self) -> Crop:
        """The crop with the same centre and size, not turned."""
        return Crop(self.centre, self.size, self.resolution)

    def matrix(self) -> Float[np.ndarray, "2 3"]:
        """Photo -> square pixels; for roll = 0 the map of `Crop`."""
        return square_matrix(np.array(self.centre), self.size, self.roll, self.resolution)


@dataclass(frozen=True)
class _Rule:
    """From five points to the face's box: least squares over the teacher's points of the training photos."""

    eyes: tuple[tuple[int, ...], tuple[int, ...]]
    """Points whose means are the image-left and the image-right eye."""
    nose: int
    size: float
    """Box size / hypotenuse of the eye distance and the distance from the middle of the eyes to the nose."""
    aside: float
    """Sideways place of the box's centre / that of the nose, both seen from the middle of the eyes."""


_RULES: dict[LandmarkLayout, _Rule] = {
    "eyes_nose_mouth": _Rule(((0,), (1,)), 2, 2.162, -1.254),
    "eye_corners_nose": _Rule(((2, 3), (0, 1)), 4, 2.073, -1.797),
}


def crop_for_face(face: Face, resolution: int = RESOLUTION) -> Square:
    """The square about a detected face, from its five points; it holds the head from brow to chin."""
    rule = _RULES[face.layout]
    points = face.landmarks.astype(np.float64)
    left, right = (points[list(index)].mean(axis=0) for index in rule.eyes)
    middle, along = (left + right) / 2, right - left
    roll = math.degrees(math.atan2(along[1], along[0]))
    levelled = _turn(-roll) @ (points[rule.nose] - middle)
    size = rule.size * float(np.hypot(np.linalg.norm(along), np.linalg.norm(levelled)))
    # Far to the side, five points say little: the centre must not leave the eyes' own span.
    limit = 0.3 * size
    offset = np.array([np.clip(rule.aside * levelled[0], -limit, limit), DROP * size])
    x, y = middle + _turn(roll) @ offset
    return Square((float(x), float(y)), MARGIN * size, roll, resolution)


def square_for_points(points: Float[np.ndarray, "N 2"], roll: float, resolution: int = RESOLUTION) -> Square:
    """The square about the face's points (photo pixels), turned by the head's roll in degrees."""
    levelled = points @ _turn(-roll).T
    low, high = levelled.min(axis=0), levelled.max(axis=0)
    x, y = _turn(roll) @ ((low + high) / 2)
    return Square((float(x), float(y)), MARGIN * float((high - low).mean()), roll, resolution)


def square_matrix(
    centre: Float[np.ndarray, "2"], size: float, roll: float, resolution: int
) -> Float[np.ndarray, "2 3"]:
    """Photo -> square pixels: (R(-roll) (p - centre) + size / 2) * (resolution - 1) / size; float64."""
    scale = (resolution - 1) / size
    linear = scale * _turn(-roll)
    return np.concatenate([linear, ((resolution - 1) / 2 - linear @ centre)[:, None]], axis=1)


def cut(image: UInt8[np.ndarray, "H W 3"], square: Square) -> UInt8[np.ndarray, "R R 3"]:
    """The square's pixels; black where it reaches beyond the photo."""
    matrix, resolution = square.matrix(), square.resolution
    # Where the photo is much finer than the square, bilinear sampling would alias: shrink it by areas first.
    step = int(square.size / resolution)
    if step >= 2:
        small = (max(1, image.shape[1] // step), max(1, image.shape[0] // step))
        factor = np.array([image.shape[1] / small[0], image.shape[0] / small[1]])
        image = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
        # Pixel centres: photo = factor * (small + 1/2) - 1/2.
        matrix = np.concatenate(
            [matrix[:, :2] * factor, matrix[:, 2:] + matrix[:, :2] @ ((factor - 1) / 2)[:, None]], axis=1
        )
    return cv2.warpAffine(image, matrix, (resolution, resolution), flags=cv2.INTER_LINEAR)


def levelled_to_upright(
    rotation: Float[Tensor, " 3"], camera: Float[Tensor, " 3"], roll: float
) -> tuple[Float[Tensor, " 3"], Float[Tensor, " 3"]]:
    """Pose and camera in a square turned by `roll` -> the same in its upright crop: R' = Rz R, t' = Rz t."""
    turn = torch.from_numpy(_turn(-roll)).to(camera)  # y is up in the camera's frame: the opposite turn
    return tilted(rotation, roll), torch.cat([camera[:1], turn @ camera[1:]])


def _turn(degrees: float) -> np.ndarray:
    """Clockwise in the image, where y points down."""
    angle = math.radians(degrees)
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
