"""The light face model: a linear basis over 468 vertices with semantic expressions.

Learnt from labelled photos by `tools/face3d/fit_basis.py`. Its frontal frame has x to the image's right, y up
and z to the viewer; the unit is about the distance between the outer corners of the eyes. The camera is
SMIRK's: xy = s * (XY + t), z = s * Z, then y and z change sign, then z += 10.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from jaxtyping import Float, Int
from torch import Tensor, nn

from diffpc.errors import InputError
from diffpc.face3d.flame import axis_angle_to_matrix, project
from diffpc.face3d.model import FaceVertices, Sizes, check_scores, check_sizes, frontal_params
from diffpc.files import asset
from diffpc.types import FaceParams
from diffpc.weights import load_config, load_weights

ASSET = "light_face"
"""Folder of the shipped model below `diffpc/assets`."""

CAMERA_SCALE = 0.85
"""The camera's scale of an average face in the light predictor's square."""


@dataclass(frozen=True)
class LightFaceData:
    """vertices = mean + shape . shape_basis + expression . expression_basis; float32, int64."""

    mean: Float[Tensor, "V 3"]
    shape_basis: Float[Tensor, "shape V 3"]
    """Coefficients have unit variance over persons."""
    expression_basis: Float[Tensor, "expression V 3"]
    """Coefficients are blendshape scores in [0, 1], then unnamed residual directions of deviation 0.2."""
    triangles: Int[Tensor, "F 3"]
    """Counter-clockwise as the viewer sees a frontal face; the eyes' and the mouth's openings are holes."""
    rest: Float[Tensor, " expression"]
    """The expression of a relaxed face, eyes open, lips all but closed: the mean of the calm photos."""
    expression_names: tuple[str, ...]
    """One name for each expression coefficient: jawOpen, mouthSmileLeft ...; Left is the person's left."""


class LightFaceModel(nn.Module):
    """The light model as a layer without trainable parameters; differentiable in all its inputs."""

    mean: Tensor
    shape_basis: Tensor
    expression_basis: Tensor
    faces: Tensor
    rest: Tensor

    def __init__(self, data: LightFaceData) -> None:
        super().__init__()
        self.expression_names = data.expression_names
        self.sizes = Sizes(len(data.shape_basis), len(data.expression_basis), 0, 0)
        for name in ("mean", "shape_basis", "expression_basis", "rest"):
            self.register_buffer(name, getattr(data, name), persistent=False)
        self.register_buffer("faces", data.triangles, persistent=False)

    @property
    def triangles(self) -> Int[Tensor, "F 3"]:
        """See FaceModel."""
        return self.faces

    def frontal(
        self, shape: Float[Tensor, "B shape"], expression: Float[Tensor, "B expression"]
    ) -> Float[Tensor, "B V 3"]:
        """Vertices before any rotation."""
        offset = shape @ self.shape_basis.flatten(1) + expression @ self.expression_basis.flatten(1)
        return self.mean + offset.unflatten(1, (-1, 3))

    def forward(
        self,
        shape: Float[Tensor, "B shape"],
        expression: Float[Tensor, "B expression"],
        rotation: Float[Tensor, "B 3"],
        camera: Float[Tensor, "B 3"],
    ) -> FaceVertices:
        """Posed vertices; rotation is an axis-angle in radians, camera is (s, tx, ty)."""
        world = self.frontal(shape, expression) @ axis_angle_to_matrix(rotation).transpose(1, 2)
        return FaceVertices(world, project(world, camera))

    def vertices(self, params: FaceParams) -> FaceVertices:
        """The one face of `params` (B = 1). Raises InputError if the parameters are another model's."""
        check_sizes(params, self.sizes, "light")
        return self(params.shape[None], params.expression[None], params.rotation[None], params.camera[None])

    def expressed(self, scores: Mapping[str, float]) -> FaceParams:
        """See FaceModel: the named coefficients are replaced, the others are those of a relaxed face."""
        check_scores(scores, self.expression_names, "light")
        expression = self.rest.clone()
        for name, score in scores.items():
            expression[self.expression_names.index(name)] = score
        return replace(frontal_params(self.sizes, CAMERA_SCALE, 112), expression=expression)


def load_light_data(folder: Path | None = None) -> LightFaceData:
    """The shipped basis, or the one in `folder` (model.safetensors and config.json).

    Raises:
        InputError: if it is absent, broken or not a light face.
    """
    folder = asset(ASSET) if folder is None else folder
    state, names = load_weights(folder), load_config(folder).get("expression_names")
    names_fit = isinstance(names, list) and len(names) == len(state.get("expression_basis", ()))
    expected = {"mean", "shape_basis", "expression_basis", "triangles", "rest"}
    if set(state) != expected or not isinstance(names, list) or not names_fit:
        raise InputError(f"{folder}: not a light face model; it should hold {', '.join(sorted(expected))}")
    return LightFaceData(
        state["mean"],
        state["shape_basis"],
        state["expression_basis"],
        state["triangles"].long(),
        state["rest"],
        tuple(str(name) for name in names),
    )


def load_light_model(weights: Path | None = None) -> LightFaceModel:
    """The light model, ready for use; see `load_light_data`."""
    return LightFaceModel(load_light_data(weights)).eval()
