"""SMIRK's published encoder as a predictor: FLAME's parameters from a 224 x 224 crop."""

from __future__ import annotations

from pathlib import Path

import torch

from diffpc.face3d.crop import crop_from_points, crop_image
from diffpc.face3d.encoder import FaceEncoder, load_smirk
from diffpc.face3d.light_predictor import LightPredictor, load_light_predictor
from diffpc.face3d.model import user_weights
from diffpc.face3d.predict import photo_points
from diffpc.types import Face, FaceParams, Image

SMIRK_FILE = "SMIRK_em1.pt"
"""Name of the published checkpoint in the user's folder of models."""

RESOLUTION = 224
BOX_SCALE = 1.4
"""SMIRK's demo.py: the crop's side in sides of the landmarks' box."""


class SmirkPredictor:
    """See `predict.FacePredictor`. Landmarks for the crop, MediaPipe's in SMIRK, come from the light one."""

    def __init__(self, encoder: FaceEncoder, light: LightPredictor) -> None:
        self.encoder, self.light = encoder.eval(), light

    def __call__(self, image: Image, face: Face) -> FaceParams:
        """FLAME's parameters of a detected face."""
        points = photo_points(self.light(image, face), self.light.model)
        crop = crop_from_points(points, BOX_SCALE, RESOLUTION)
        pixels = torch.from_numpy(crop_image(image, crop)).permute(2, 0, 1)[None].float() / 255
        with torch.no_grad():
            found = self.encoder(pixels)
        return FaceParams(
            shape=found.shape[0],
            expression=found.expression[0],
            eyelid=found.eyelid[0],
            jaw=found.jaw[0],
            rotation=found.rotation[0],
            camera=found.camera[0],
            crop=crop,
            frame=(image.shape[1], image.shape[0]),
        )


def load_smirk_predictor(weights: Path | None = None) -> SmirkPredictor:
    """SMIRK from its published checkpoint; None looks for SMIRK_em1.pt in $DIFFPC_ASSETS.

    Raises:
        InputError: if it is absent or broken.
    """
    remedy = "SMIRK does not ship with diffpc; for the steps run: diffpc assets fetch smirk"
    return SmirkPredictor(load_smirk(user_weights(weights, SMIRK_FILE, remedy)), load_light_predictor())
