"""The light predictor: a small FaceEncoder on levelled squares, then the light model's parameters."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from diffpc.face3d.encoder import EncoderSettings, FaceEncoder
from diffpc.face3d.framing import Square, crop_for_face, cut, levelled_to_upright, square_for_points
from diffpc.face3d.light import LightFaceModel, load_light_model
from diffpc.face3d.pose import euler_degrees
from diffpc.face3d.predict import photo_points
from diffpc.files import asset
from diffpc.settings import from_dict
from diffpc.types import Face, FaceParams, Image
from diffpc.weights import load_config, load_into

ASSET = "light_predictor"
"""Folder of the shipped weights below `diffpc/assets`."""

PASSES = 2
"""The first looks where the detector's five points say, the next where the found face is."""


@dataclass(frozen=True)
class PredictorSettings:
    """What the weights' config.json holds."""

    encoder: EncoderSettings
    resolution: int
    """Side of the square that the encoder was trained on, in pixels."""
    source: str
    """Where the weights come from."""


class LightPredictor:
    """See `predict.FacePredictor`; eyelid and jaw are empty, the expression basis has them."""

    def __init__(
        self, encoder: FaceEncoder, model: LightFaceModel, resolution: int, passes: int = PASSES
    ) -> None:
        self.encoder, self.model = encoder.eval(), model
        self.resolution, self.passes = resolution, passes

    def __call__(self, image: Image, face: Face) -> FaceParams:
        """The parameters of a detected face."""
        params = self.read(image, crop_for_face(face, self.resolution))
        for _ in range(self.passes - 1):
            roll = euler_degrees(params.rotation).roll
            square = square_for_points(photo_points(params, self.model), roll, self.resolution)
            params = self.read(image, square)
        return params

    def read(self, image: Image, square: Square) -> FaceParams:
        """The parameters of the face in a square of the photo."""
        with torch.no_grad():
            found = self.encoder(_batch(cut(image, square)))
        rotation, camera = levelled_to_upright(found.rotation[0], found.camera[0], square.roll)
        return FaceParams(
            shape=found.shape[0],
            expression=found.expression[0],
            eyelid=found.eyelid[0],
            jaw=found.jaw[0],
            rotation=rotation,
            camera=camera,
            crop=square.upright,
            frame=(image.shape[1], image.shape[0]),
        )


def load_light_predictor(weights: Path | None = None) -> LightPredictor:
    """The shipped predictor, or the one in the folder `weights` (model.safetensors and config.json).

    Raises:
        InputError: if it is absent or broken.
    """
    folder = asset(ASSET) if weights is None else weights
    settings = from_dict(PredictorSettings, load_config(folder))
    encoder = FaceEncoder(settings.encoder)
    load_into(encoder, folder)
    return LightPredictor(encoder, load_light_model(), settings.resolution)


def _batch(picture: Image) -> Tensor:
    """(R, R, 3) uint8 -> (1, 3, R, R) in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float() / 255
