"""Which part of the target's frame a portrait shows."""

from __future__ import annotations

from typing import TypeAlias

from diffpc.face3d.model import FaceModel
from diffpc.face3d.predict import photo_points
from diffpc.settings import Framing
from diffpc.types import FaceParams

View: TypeAlias = tuple[float, float, float, float]
"""Left, top, width, height in pixels of the target photo; it may reach beyond the photo."""


def framed(params: FaceParams, model: FaceModel, size: tuple[int, int], framing: Framing) -> View:
    """The largest centred view of the portrait's aspect, moved and scaled so that the face lies in the ranges.

    Args:
        params: the face on its frame.
        model: the face model that `params` belong to.
        size: width, height of the portrait.
        framing: the ranges of the model.
    """
    points = photo_points(params, model)
    low, high = points.min(axis=0), points.max(axis=0)
    centre, face_height = (low + high) / 2, float(high[1] - low[1])
    frame_width, frame_height = params.frame
    largest = min(frame_height, frame_width * size[1] / size[0])
    height = face_height / _within(face_height / largest, framing.height)
    width = height * size[0] / size[1]
    x = _within((centre[0] - (frame_width - width) / 2) / width, framing.x)
    y = _within((centre[1] - (frame_height - height) / 2) / height, framing.y)
    return float(centre[0] - x * width), float(centre[1] - y * height), float(width), float(height)


def _within(value: float, limits: tuple[float, float]) -> float:
    return min(max(float(value), limits[0]), limits[1])
