"""Photos -> I_3d (Eq. 5 to 7): predictors by name, whose parameters are used, the render."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from diffpc.backends import load
from diffpc.errors import UsageError
from diffpc.face3d.crop import crop_to_frame_ndc
from diffpc.face3d.model import FaceModel
from diffpc.face3d.pose import Angles, rotation_from
from diffpc.face3d.render import render
from diffpc.types import Crop, Face, FaceParams, Image


@runtime_checkable
class FacePredictor(Protocol):
    """E_3d of Eq. 5 and 6."""

    def __call__(self, image: Image, face: Face) -> FaceParams:
        """The parameters (alpha, beta, gamma) of one detected face; the same input, the same result."""
        ...


PREDICTORS: dict[str, str] = {
    "light": "diffpc.face3d.light_predictor:load_light_predictor",
    "smirk": "diffpc.face3d.smirk_predictor:load_smirk_predictor",
}
"""name -> factory(weights: Path | None) -> FacePredictor. light speaks the light model, smirk FLAME."""


def load_predictor(name: str = "light", weights: Path | None = None) -> FacePredictor:
    """A predictor by name.

    Args:
        name: a key of PREDICTORS.
        weights: the predictor's file or folder; None takes what ships with the package, or $DIFFPC_ASSETS.

    Raises:
        UsageError: if the name is unknown.
        InputError: if the weights are absent or broken.
    """
    return load("3D face predictor", name, PREDICTORS)(weights)


def condition(
    identity: FaceParams, expression: FaceParams | None = None, pose: FaceParams | None = None
) -> FaceParams:
    """(alpha_ref, beta_tgt, gamma_tgt) of Eq. 7.

    Args:
        identity: whose face it is (alpha); its own expression and pose stay where the others are not given.
        expression: beta: of the target photo, of a photo of its own, or from `presets.preset`.
        pose: gamma with crop and frame: of the target photo, of a photo of its own, or from `posed`.
    """
    params = identity if expression is None else identity.with_expression_of(expression)
    return params if pose is None else params.with_pose_of(pose)


def render_condition(
    params: FaceParams,
    model: FaceModel,
    height: int,
    width: int,
    view: tuple[float, float, float, float] | None = None,
) -> Float[Tensor, "{height} {width}"]:
    """I_3d (R_3d of Eq. 7): the shaded face in [0, 1] where `params` place it, 0 elsewhere.

    Args:
        view: left, top, width, height in photo pixels of the part of the frame that the picture shows; None
            is the whole frame. The picture's first pixel shows the view's first pixel.

    Raises:
        UsageError: if the picture's aspect is not the view's.
        InputError: if the parameters are another model's.
    """
    *_, wide, high = view or (0.0, 0.0, *params.frame)
    if abs(width * high - height * wide) > max(wide, high):
        raise UsageError(
            f"a picture of {width} x {height} cannot show a view of {wide:g} x {high:g}; give one aspect"
        )
    with torch.no_grad():
        found = model.vertices(params)
        placed = crop_to_frame_ndc(params.crop, params.frame, view).apply(found.projected)
        return render(placed, model.triangles, height, width, found.world)[0]


def photo_points(params: FaceParams, model: FaceModel) -> Float[np.ndarray, "V 2"]:
    """The vertices in pixels of the photo that the parameters were read from."""
    with torch.no_grad():
        placed = model.vertices(params).projected[0, :, :2].double().numpy()
    crop = params.crop
    pixel = (placed + 1) * (crop.resolution / 2) - 0.5  # the rasteriser's convention
    return pixel * (crop.size / (crop.resolution - 1)) + np.array(crop.centre) - crop.size / 2


@dataclass(frozen=True)
class Placement:
    """Where a face stands in a frame: fractions of it, 0.5 is the middle."""

    x: float = 0.5
    """Centre of the face's box, of the width."""
    y: float = 0.45
    """Centre of the face's box, of the height."""
    size: float = 0.5
    """Height of the mean face seen frontally (chin to hairline), of the frame's height."""


def posed(
    model: FaceModel,
    angles: Angles,
    placement: Placement | None = None,
    frame: tuple[int, int] = (1024, 1024),
) -> FaceParams:
    """A pose in numbers, the `pose` of `condition`: yaw > 0 image's right, pitch > 0 up, roll > 0 clockwise.

    Another identity or expression keeps the scale; its box then differs a little from the mean face's.

    Args:
        frame: width, height in pixels of the picture in mind.

    Raises:
        UsageError: if the size is not positive.
    """
    place = placement or Placement()
    if place.size <= 0:
        raise UsageError(f"a face of size {place.size} of the frame cannot be shown; give a size above 0")
    width, height = frame
    side = min(frame)
    crop = Crop((width / 2 - 0.5, height / 2 - 0.5), float(side - 1), side)
    mean = replace(model.expressed({}), camera=torch.tensor([1.0, 0.0, 0.0]))
    turned = replace(mean, rotation=rotation_from(angles))
    # The crop spans `side` pixels and 2 units, so a unit is side / 2 pixels.
    scale = place.size * height / (side / 2) / _box(model, mean)[1][1]
    (x, y), _ = _box(model, turned)
    aim_x = (place.x * width - 0.5 - crop.centre[0]) / (side / 2)
    aim_y = (place.y * height - 0.5 - crop.centre[1]) / (side / 2)
    camera = torch.tensor([scale, aim_x / scale - x, y - aim_y / scale])
    return replace(turned, camera=camera, crop=crop, frame=frame)


def _box(model: FaceModel, params: FaceParams) -> tuple[list[float], list[float]]:
    """Centre and extent (x, y each) of the projected face."""
    with torch.no_grad():
        placed = model.vertices(params).projected[0, :, :2]
    low, high = placed.amin(0), placed.amax(0)
    return ((low + high) / 2).tolist(), (high - low).tolist()
