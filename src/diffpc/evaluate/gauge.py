"""A second opinion on pose, expression and looks, by a network that no part of the model knows.

Oriented gradients and mean colours of a wide chip, then one linear layer (`tools/judge/train_gauge.py`). Its labels for
pose and expression come from the teacher of the light predictor too: another network, other features, other faults, but
one teacher.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from diffpc.errors import InputError, UsageError
from diffpc.face3d.pose import Angles
from diffpc.faces.align import ARCFACE_112, ChipTemplate, Matrix, align, transform_points
from diffpc.faces.gradients import GradientSettings, OrientedGradients
from diffpc.files import asset
from diffpc.settings import from_dict
from diffpc.tensors import to_tensor
from diffpc.types import Face, Image, LandmarkLayout
from diffpc.weights import load_config, load_weights

ASSET = "gauge"
"""Folder of the shipped weights below `diffpc/assets`."""

ZOOM = 0.6
"""Size of the face in the chip, against ArcFace's: hair, hat and chin are to be seen."""

GRID = 12
"""The chip's mean colours are taken in so many rows and columns."""

ANGLES = ("yaw", "pitch", "roll")
"""Of the head, degrees; the signs are those of `face3d.pose`."""


@dataclass(frozen=True)
class GaugeSettings:
    """What the weights' config.json holds."""

    gradients: GradientSettings
    expressions: tuple[str, ...]
    """Names of what the face does, each 0 to 1."""
    attributes: tuple[str, ...]
    """Names of looks; the network gives log odds."""
    accuracy: tuple[tuple[str, float], ...]
    """Per output, on persons it never saw: the mean error in degrees (angles), the correlation (expressions), the
    mean of the two classes' accuracies (attributes)."""
    source: str
    """What the weights were learnt from."""


@dataclass(frozen=True)
class Reading:
    """One face as the gauge sees it."""

    angles: Angles
    expressions: Float[Tensor, " E"]
    """In the order of the settings; about 0 to 1."""
    attributes: Float[Tensor, " A"]
    """Probabilities, in the order of the settings."""


class WideFeatures(nn.Module):
    """Chips -> oriented gradients and colours."""

    def __init__(self, settings: GradientSettings) -> None:
        super().__init__()
        self.gradients = OrientedGradients(settings)
        self.dimension = settings.dimension + 3 * GRID * GRID

    def forward(self, chips: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B D"]:
        """RGB in [-1, 1]."""
        colours = functional.adaptive_avg_pool2d(chips, GRID).flatten(1)
        return torch.cat([self.gradients(chips), colours], dim=1)


class Gauge(nn.Module):
    """Photo and face -> reading."""

    weight: Tensor
    bias: Tensor

    def __init__(self, settings: GaugeSettings, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.settings = settings
        self.features = WideFeatures(settings.gradients)
        self.template = wide_template(settings.gradients.size)
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    @torch.no_grad()
    def forward(self, chips: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B N"]:
        """Angles in the chip, expressions, log odds of the attributes."""
        return self.features(chips) @ self.weight + self.bias

    def read(self, image: Image, face: Face) -> Reading:
        """Look at one face of a photo."""
        aligned = align(image, face, self.template)
        values = self(to_tensor(aligned.pixels)[None])[0]
        yaw, pitch, roll = values[:3].tolist()
        first = 3 + len(self.settings.expressions)
        return Reading(
            Angles(yaw, pitch, roll + tilt(aligned.matrix)), values[3:first], values[first:].sigmoid()
        )


def tilt(matrix: Matrix) -> float:
    """By how many degrees the photo's face is tilted clockwise, since the chip's is upright."""
    return -math.degrees(math.atan2(matrix[1, 0], matrix[0, 0]))


def wide_template(size: int) -> ChipTemplate:
    """ArcFace's face, smaller and in the middle of the chip."""
    factor = ZOOM * size / ARCFACE_112.size
    shift = (size - 1) / 2 - factor * (ARCFACE_112.size - 1) / 2
    matrix = np.array([[factor, 0.0, shift], [0.0, factor, shift]])
    points: dict[LandmarkLayout, np.ndarray] = {
        layout: transform_points(known, matrix) for layout, known in ARCFACE_112.points.items()
    }
    return ChipTemplate(size, points, antialias=True)


def load_gauge(folder: Path | None = None) -> Gauge:
    """The shipped gauge, or the one in `folder`.

    Raises:
        InputError: if it is missing, damaged or of another make.
    """
    folder = folder or asset(ASSET)
    try:
        settings = from_dict(GaugeSettings, load_config(folder))
    except UsageError as error:
        raise InputError(f"{folder}: {error}; make it again with tools/judge/train_gauge.py") from error
    state = load_weights(folder)
    inputs = WideFeatures(settings.gradients).dimension
    outputs = 3 + len(settings.expressions) + len(settings.attributes)
    if {name: tuple(value.shape) for name, value in state.items()} != {
        "weight": (inputs, outputs),
        "bias": (outputs,),
    }:
        raise InputError(f"{folder}: is no gauge of its own config's sizes; make it again")
    return Gauge(settings, state["weight"], state["bias"]).eval()
