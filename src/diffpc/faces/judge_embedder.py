"""The judge: a face embedder that no model was conditioned on or trained against, to hold portraits against.

Oriented gradients of a chip and a learnt linear map: principal directions, whitened within persons and turned towards
what differs between persons (linear discriminant analysis). Made by `tools/judge/train_judge.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn

from diffpc.errors import InputError, UsageError
from diffpc.faces.align import ARCFACE_112, ChipTemplate
from diffpc.faces.embed import ChipEmbedder, MetricInfo
from diffpc.faces.gradients import GradientSettings, OrientedGradients, with_mirror
from diffpc.files import asset
from diffpc.settings import from_dict
from diffpc.types import LandmarkLayout
from diffpc.weights import load_config, load_weights

ASSET = "judge"
"""Folder of the shipped weights below `diffpc/assets`."""


@dataclass(frozen=True)
class JudgeSettings:
    """What the weights' config.json holds."""

    gradients: GradientSettings
    dimension: int
    """Length of the vectors."""
    threshold: float
    """Cosine above which two photos count as one person's."""
    source: str
    """What the weights were learnt from."""


class Judge(nn.Module):
    """Chips -> vectors; a chip and its mirror image have the same."""

    mean: Tensor
    matrix: Tensor

    def __init__(self, settings: JudgeSettings, mean: Tensor, matrix: Tensor) -> None:
        super().__init__()
        self.gradients = OrientedGradients(settings.gradients)
        self.register_buffer("mean", mean)
        self.matrix = nn.Parameter(matrix, requires_grad=False)

    def forward(self, chips: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B D"]:
        """RGB in [-1, 1]."""
        return (with_mirror(self.gradients, chips) - self.mean) @ self.matrix


def judge_template(size: int) -> ChipTemplate:
    """ArcFace's face at another size, brow to chin; pixels are averaged where the photo is finer."""
    factor = size / ARCFACE_112.size
    points: dict[LandmarkLayout, np.ndarray] = {
        layout: (known + 0.5) * factor - 0.5 for layout, known in ARCFACE_112.points.items()
    }
    return ChipTemplate(size, points, antialias=True)


def judge_embedder(path: Path | None = None) -> ChipEmbedder:
    """Build the embedder.

    Args:
        path: folder of the weights; by default the shipped one.

    Raises:
        InputError: if it is missing, damaged or of another make.
    """
    folder = path or asset(ASSET)
    try:
        settings = from_dict(JudgeSettings, load_config(folder))
    except UsageError as error:
        raise InputError(f"{folder}: {error}; make it again with tools/judge/train_judge.py") from error
    state = load_weights(folder)
    wanted = {
        "mean": (settings.gradients.dimension,),
        "matrix": (settings.gradients.dimension, settings.dimension),
    }
    if {name: tuple(value.shape) for name, value in state.items()} != wanted:
        raise InputError(f"{folder}: is no judge of its own config's sizes; make it again")
    network = Judge(settings, state["mean"], state["matrix"]).eval()
    metric = MetricInfo(
        kind="cosine",
        threshold=settings.threshold,
        note="1 % false accepts on the official development pairs of Labeled Faces in the Wild; weaker than dlib's",
    )
    return ChipEmbedder("judge", network, settings.dimension, judge_template(settings.gradients.size), metric)
