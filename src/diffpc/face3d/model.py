"""Parameters -> vertices: what every 3D face model can do, and the models by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from diffpc.backends import load
from diffpc.errors import InputError, UsageError
from diffpc.external.places import assets_root
from diffpc.face3d.encoder import INITIAL_CAMERA_SCALE
from diffpc.face3d.flame import FlameLayer, project
from diffpc.face3d.flame_file import N_EXPRESSION, N_SHAPE, load_flame
from diffpc.types import Crop, FaceParams

FLAME_FILE = "flame.safetensors"
"""Name of the converted FLAME head in the user's folder of models."""

JAW_OPEN = 0.5
"""Radians of FLAME's jaw at a jawOpen score of 1: about the most that SMIRK's training photos show."""


@dataclass(frozen=True)
class FaceVertices:
    """A posed face in both frames that the renderer wants."""

    world: Float[Tensor, "B V 3"]
    """Rotated, before the camera: x to the image's right, y up, z to the viewer, in the model's units."""
    projected: Float[Tensor, "B V 3"]
    """In the crop: x right, y down, [-1, 1] across the crop; z > 0 grows away from the camera."""


@dataclass(frozen=True)
class Sizes:
    """How many coefficients of each kind a model takes; FaceParams of another size are refused."""

    shape: int
    expression: int
    eyelid: int
    jaw: int


@runtime_checkable
class FaceModel(Protocol):
    """A parametric face."""

    @property
    def triangles(self) -> Int[Tensor, "F 3"]:
        """Rows of the vertices, counter-clockwise as seen from outside."""
        ...

    @property
    def sizes(self) -> Sizes:
        """Sizes of the parameters."""
        ...

    def vertices(self, params: FaceParams) -> FaceVertices:
        """The one face of `params` (B = 1).

        Raises:
            InputError: if the parameters are another model's.
        """
        ...

    def expressed(self, scores: Mapping[str, float]) -> FaceParams:
        """The mean face, relaxed but for these scores, frontal in the middle of its crop.

        Args:
            scores: blendshape name -> 0 (not at all) to 1; values beyond exaggerate.

        Raises:
            UsageError: if the model cannot show one of them; the message lists those it can.
        """
        ...


FACE_MODELS: dict[str, str] = {
    "light": "diffpc.face3d.light:load_light_model",
    "flame": "diffpc.face3d.model:load_flame_model",
}
"""name -> factory(weights: Path | None) -> FaceModel. "light" ships with diffpc, "flame" is the user's."""


def load_face_model(name: str = "light", weights: Path | None = None) -> FaceModel:
    """A face model by name.

    Args:
        name: a key of FACE_MODELS.
        weights: the model's file or folder; None takes the one that ships with the package, if any.

    Raises:
        UsageError: if the name is unknown.
        InputError: if the weights are absent or broken.
    """
    return load("face model", name, FACE_MODELS)(weights)


def check_sizes(params: FaceParams, sizes: Sizes, model: str) -> None:
    """Refuse parameters that another model made.

    Raises:
        InputError: naming the first size that differs.
    """
    for kind in ("shape", "expression", "eyelid", "jaw"):
        found, expected = len(getattr(params, kind)), getattr(sizes, kind)
        if found != expected:
            raise InputError(
                f"these parameters have {found} {kind} coefficients, the {model} model takes {expected}; "
                "use the predictor that belongs to the model: light with light, smirk with flame"
            )


def frontal_params(sizes: Sizes, scale: float, resolution: int) -> FaceParams:
    """All coefficients 0, no rotation, the camera's scale alone; the crop is the whole of its own frame."""
    corner = (resolution - 1) / 2
    return FaceParams(
        shape=torch.zeros(sizes.shape),
        expression=torch.zeros(sizes.expression),
        eyelid=torch.zeros(sizes.eyelid),
        jaw=torch.zeros(sizes.jaw),
        rotation=torch.zeros(3),
        camera=torch.tensor([scale, 0.0, 0.0]),
        crop=Crop((corner, corner), float(resolution - 1), resolution),
        frame=(resolution, resolution),
    )


def check_scores(scores: Mapping[str, float], known: tuple[str, ...], model: str) -> None:
    """Refuse scores that a model cannot show.

    Raises:
        UsageError: naming the first of them, and those it can.
    """
    for name in scores:
        if name not in known:
            raise UsageError(f"the {model} model cannot show {name!r}; it knows: {', '.join(known)}")


def user_weights(weights: Path | None, name: str, remedy: str) -> Path:
    """The given file, or `name` in the user's folder of models.

    Raises:
        InputError: if it is not there; the message ends in `remedy`.
    """
    path = weights or assets_root() / name
    if not path.is_file():
        raise InputError(f"{path} is no file; {remedy}")
    return path


class FlameFaceModel:
    """FLAME restricted to its face mask, as SMIRK renders it."""

    EXPRESSIONS = ("jawOpen", "eyeBlinkLeft", "eyeBlinkRight")
    """FLAME's expression directions have no names: of the blendshapes only its jaw and eyelids are sure."""

    def __init__(self, layer: FlameLayer) -> None:
        self.layer = layer
        self.sizes = Sizes(N_SHAPE, N_EXPRESSION, 2, 3)

    @property
    def triangles(self) -> Int[Tensor, "F 3"]:
        """Rows of the face mask's vertices."""
        return self.layer.faces

    def vertices(self, params: FaceParams) -> FaceVertices:
        """See FaceModel."""
        check_sizes(params, self.sizes, "FLAME")
        world = self.layer(
            params.shape[None],
            params.expression[None],
            params.eyelid[None],
            params.jaw[None],
            params.rotation[None],
        )
        return FaceVertices(world, project(world, params.camera[None]))

    def expressed(self, scores: Mapping[str, float]) -> FaceParams:
        """See FaceModel: jawOpen, eyeBlinkLeft and eyeBlinkRight."""
        check_scores(scores, self.EXPRESSIONS, "FLAME")
        jaw = torch.tensor([JAW_OPEN * scores.get("jawOpen", 0.0), 0.0, 0.0])
        eyelid = torch.tensor([scores.get("eyeBlinkLeft", 0.0), scores.get("eyeBlinkRight", 0.0)])
        return replace(frontal_params(self.sizes, INITIAL_CAMERA_SCALE, 224), jaw=jaw, eyelid=eyelid)


def load_flame_model(weights: Path | None = None) -> FlameFaceModel:
    """FLAME from the file that `flame_file.save_flame` wrote; None looks for it in $DIFFPC_ASSETS.

    Raises:
        InputError: if it is absent or broken.
    """
    remedy = (
        "FLAME does not ship with diffpc: register at flame.is.tue.mpg.de and convert FLAME 2020; for the steps "
        "run: diffpc assets fetch flame"
    )
    data = load_flame(user_weights(weights, FLAME_FILE, remedy))
    return FlameFaceModel(FlameLayer(data, kept=data.face_vertices))
