"""Expression and pose of a 3D face as JSON, exactly: what a portrait's record holds where no photo or name says it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import torch

from diffpc.errors import InputError
from diffpc.face3d.model import FaceModel
from diffpc.types import Crop, FaceParams

VECTORS = ("expression", "eyelid", "jaw", "rotation", "camera")
"""beta and gamma; alpha is the person's and is written nowhere."""

MOST = 1e6
"""Of every number; not a number is not below it either."""

MAX_LENGTH = 1000
"""Of a vector."""


def written(params: FaceParams) -> dict[str, list[float]]:
    """beta and gamma as JSON values; float32 survives it bit for bit."""
    crop = params.crop
    vectors = {name: [float(one) for one in getattr(params, name)] for name in VECTORS}
    square: list[float] = [
        float(crop.centre[0]),
        float(crop.centre[1]),
        float(crop.size),
        int(crop.resolution),
    ]
    frame: list[float] = [int(side) for side in params.frame]
    return vectors | {"crop": square, "frame": frame}


def is_written(value: Any) -> bool:
    """Whether a value, from anywhere, has the form that `written` gives."""
    if not isinstance(value, dict) or set(cast("dict[str, Any]", value)) != {*VECTORS, "crop", "frame"}:
        return False
    found = cast("dict[str, Any]", value)
    if not all(_is_vector(one) for one in found.values()):
        return False
    lengths = (len(found["rotation"]), len(found["camera"]), len(found["crop"]), len(found["frame"]))
    sides = [found["crop"][-1:], found["frame"]]
    whole = all(type(side) is int and 1 < side <= 2**16 for pair in sides for side in pair)
    return lengths == (3, 3, 4, 2) and whole and found["crop"][2] > 0 and found["camera"][0] > 0


def read_written(values: Mapping[str, list[float]], model: FaceModel, name: str) -> FaceParams:
    """The face of what `written` gave, with the mean face's shape.

    Args:
        values: of the form that `is_written` checks.
        model: whose parameters they are.
        name: what messages call their source.

    Raises:
        InputError: if they are another model's.
    """
    sizes = model.sizes
    found = {key: torch.tensor(values[key], dtype=torch.float32) for key in VECTORS}
    for key in ("expression", "eyelid", "jaw"):
        if len(found[key]) != getattr(sizes, key):
            raise InputError(
                f"{name}: its {key} has {len(found[key])} numbers, this model's faces have {getattr(sizes, key)}; "
                "pass the --model that drew it"
            )
    x, y, size, resolution = values["crop"]
    width, height = values["frame"]
    crop = Crop((x, y), size, int(resolution))
    return FaceParams(torch.zeros(sizes.shape), **found, crop=crop, frame=(int(width), int(height)))


def _is_vector(value: Any) -> bool:
    if not isinstance(value, list) or len(cast("list[Any]", value)) > MAX_LENGTH:
        return False
    return all(
        type(one) in (int, float) and math.isfinite(one) and abs(one) < MOST
        for one in cast("list[Any]", value)
    )
