"""The values that pass between the rooms: frozen, with shapes and units stated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from jaxtyping import Float, UInt8

if TYPE_CHECKING:  # torch costs a second to import, and `diffpc --help` must not pay it
    from torch import Tensor

Say: TypeAlias = Callable[[str], None]
"""Takes one line of news for the user; only the command line knows where it goes."""

Image = UInt8[np.ndarray, "_ _ 3"]
"""H x W x 3, RGB, uint8, upright (EXIF orientation applied).

The sides have no names: two images in one function may differ in size.
"""

LandmarkLayout = Literal["eyes_nose_mouth", "eye_corners_nose"]
"""Which five points a detector gives. Left and right are the image's.

eyes_nose_mouth (ArcFace): left eye, right eye, nose tip, left mouth corner, right mouth corner.
eye_corners_nose (dlib): right eye's outer and inner corner, left eye's outer and inner corner, nose base.
"""


@dataclass(frozen=True)
class Face:
    """One detected face, in pixels of the upright photo (x right, y down, pixel centres at integers)."""

    box: tuple[float, float, float, float]
    """x0, y0, x1, y1."""
    landmarks: Float[np.ndarray, "5 2"]
    """Five points in the order of `layout`."""
    layout: LandmarkLayout
    score: float
    """The detector's confidence; comparable within one detector only."""

    @property
    def area(self) -> float:
        """Area of the box in square pixels."""
        x0, y0, x1, y1 = self.box
        return max(0.0, x1 - x0) * max(0.0, y1 - y0)


@dataclass(frozen=True)
class Crop:
    """An upright square cut from a photo and resampled to `resolution` x `resolution` pixels.

    A photo point p lies at crop pixel (p - centre + size / 2) * (resolution - 1) / size, as in SMIRK's
    pre-processing (georgeretsi/smirk @ c7de404, demo.py).
    """

    centre: tuple[float, float]
    """x, y in photo pixels."""
    size: float
    """Side in photo pixels."""
    resolution: int
    """Side in crop pixels."""


@dataclass(frozen=True)
class FaceParams:
    """A 3D face: alpha, beta, gamma of Eq. 5 and 6, and where in which frame it was seen. float32, CPU."""

    shape: Float[Tensor, " shape"]
    """alpha: identity coefficients."""
    expression: Float[Tensor, " expression"]
    """beta: expression coefficients."""
    eyelid: Float[Tensor, " eyelid"]
    """beta: eyelid closure in [0, 1]; empty where the expression basis has it."""
    jaw: Float[Tensor, " jaw"]
    """beta: jaw rotation, axis-angle in radians; empty where the expression basis has it."""
    rotation: Float[Tensor, " 3"]
    """gamma: head rotation, axis-angle in radians, frontal = 0."""
    camera: Float[Tensor, " 3"]
    """gamma: weak perspective (s, tx, ty) in the crop's [-1, 1] coordinates: xy = s * (XY + t)."""
    crop: Crop
    """gamma: the crop in which `camera` is expressed."""
    frame: tuple[int, int]
    """Width, height in pixels of the photo that the crop was cut from."""

    def with_expression_of(self, other: FaceParams) -> FaceParams:
        """This face with the expression (beta) of another."""
        return replace(self, expression=other.expression, eyelid=other.eyelid, jaw=other.jaw)

    def with_pose_of(self, other: FaceParams) -> FaceParams:
        """This face with the head pose and place (gamma) of another."""
        return replace(self, rotation=other.rotation, camera=other.camera, crop=other.crop, frame=other.frame)
