"""The networks that look at photos, loaded once per process."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import torch

from diffpc.curate.quality import QualityMeasure, load_quality
from diffpc.curate.settings import PhotoSettings
from diffpc.curate.text import TextFinder, load_text_finder
from diffpc.face3d.model import FaceModel, load_face_model
from diffpc.face3d.predict import FacePredictor, load_predictor
from diffpc.faces.detect import FaceDetector, load_detector
from diffpc.faces.embed import FaceEmbedder, load_embedder


@dataclass(frozen=True)
class Tools:
    """What the stages see with."""

    settings: PhotoSettings

    @cached_property
    def detector(self) -> FaceDetector:
        """Finds faces."""
        return load_detector(self.settings.detector)

    @cached_property
    def embedder(self) -> FaceEmbedder:
        """Tells persons apart."""
        return load_embedder(self.settings.embedder)

    @cached_property
    def predictor(self) -> FacePredictor:
        """E_3d."""
        return load_predictor(self.settings.predictor)

    @cached_property
    def model(self) -> FaceModel:
        """The 3D face."""
        return load_face_model(self.settings.face_model)

    @cached_property
    def quality(self) -> QualityMeasure:
        """Judges faces."""
        return load_quality(self.settings.quality_measure, self.settings.quality_weights)

    @cached_property
    def text(self) -> TextFinder:
        """Finds text."""
        return load_text_finder(self.settings.text)


def load_tools(settings: PhotoSettings) -> Tools:
    """All tools, loaded; a wrong name or a missing file shows now.

    One thread from here on: how many there are changes the rounding of sums, and a worker has one core.

    Raises:
        UsageError: if a name is unknown or a package is not installed.
        InputError: if weights are missing or damaged.
    """
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    tools = Tools(settings)
    for name in ("detector", "embedder", "predictor", "model", "quality", "text"):
        getattr(tools, name)
    return tools
