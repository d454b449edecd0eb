"""How well a face can be seen: judges of face quality by name, each in [0, 1] with 0.5 as the border.

The paper's network (FQA of ModelScope) is the user's to bring. The own measure is a logistic regression: the
chance that the embedder still recognises the person, from what was measured anyway. `tools/curate/fit_quality.py`
fits it; docs/curate.md says how well it does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import cv2
import numpy as np

from diffpc.backends import load, require
from diffpc.curate.record import Record, needed
from diffpc.errors import InputError, UsageError
from diffpc.faces.align import ARCFACE_112, align
from diffpc.types import Face, Image

QUALITY_MEASURES: dict[str, str] = {
    "light": "diffpc.curate.quality:light_quality",
    "fqa": "diffpc.curate.quality:fqa_quality",
}
"""name -> factory(weights) -> QualityMeasure."""

FEATURES = ("sharpness", "sharpness_squared", "size", "exposure", "contrast", "norm")
"""What the own measure reads of a record's measures, in the order of its coefficients."""


@runtime_checkable
class QualityMeasure(Protocol):
    """Judges the face of a record that has been read; the same record always gets the same number."""

    def __call__(self, record: Record) -> float:
        """0 (useless) to 1."""
        ...


def load_quality(name: str, weights: str) -> QualityMeasure:
    """A judge of quality by name; `weights` is its file, empty for what needs none.

    Raises:
        UsageError: if the name is unknown or the file is not named.
        InputError: if the file is missing or not the network.
    """
    return load("quality measure", name, QUALITY_MEASURES)(weights)


def face_measures(chip: Image, face: Face) -> Mapping[str, float]:
    """What the pixels of a face, aligned in a chip, tell of its quality.

    Returns:
        sharpness: log2 of the deviation of the Laplacian over that of the gray levels, both in the aligned chip.
        size: log2 of the box's side in pixels over 64; above 112 px it counts no more.
        exposure: share of the chip's gray levels that are neither black (under 8) nor white (over 247).
        contrast: deviation of the chip's gray levels / 64, above 1 it counts no more.
    """
    gray = cv2.cvtColor(chip, cv2.COLOR_RGB2GRAY).astype(np.float32)
    inner = gray[len(gray) // 8 : -len(gray) // 8, len(gray) // 8 : -len(gray) // 8]
    deviation = float(inner.std()) + 1.0
    edges = float(cv2.Laplacian(inner, cv2.CV_32F).std()) + 0.05
    side = math.sqrt(max(face.area, 1.0))
    return {
        "sharpness": math.log2(edges / deviation),
        "size": math.log2(min(side, 112.0) / 64),
        "exposure": float(((inner >= 8) & (inner <= 247)).mean()),
        "contrast": min(deviation / 64, 1.0),
    }


@dataclass(frozen=True)
class LightQuality:
    """1 / (1 + exp(-(bias + sum of coefficient x feature)))."""

    bias: float
    coefficients: Mapping[str, float]
    """By feature."""

    def __call__(self, record: Record) -> float:
        """See `QualityMeasure`."""
        measures = quality_features(record)
        logit = self.bias + sum(factor * measures[name] for name, factor in self.coefficients.items())
        return 1 / (1 + math.exp(-min(max(logit, -30.0), 30.0)))


def quality_features(record: Record) -> Mapping[str, float]:
    """FEATURES of a record whose face was read."""
    norm = float(np.linalg.norm(needed(record.embedding, "embedding")))
    squared = record.measures["sharpness"] ** 2  # noise is as bad as blur: the best lies between
    return {**record.measures, "sharpness_squared": squared, "norm": norm}


def light_quality(weights: str) -> LightQuality:
    """The own measure, with the coefficients that `tools/curate/fit_quality.py` found."""
    if weights:
        raise UsageError(f"the light quality measure takes no weights; leave out {weights}, or choose fqa")
    return LightQuality(BIAS, COEFFICIENTS)


class FQAQuality:
    """iic/cv_manual_face-quality-assessment_fqa: mean of its first output on a chip of 112 x 112."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self._input = session.get_inputs()[0].name

    def __call__(self, record: Record) -> float:
        """See `QualityMeasure`."""
        image, face = needed(record.image, "image"), needed(record.face, "face")
        pixels = align(image, face, ARCFACE_112).pixels.astype(np.float32)
        values = ((pixels / 255 - 0.5) / 0.5).transpose(2, 0, 1)[None]
        score = float(np.mean(self._session.run(None, {self._input: values})[0][0]))
        if not math.isfinite(score):
            raise InputError(f"{record.listed.key}: the quality network gives {score}; check its file")
        return min(max(score, 0.0), 1.0)


def fqa_quality(weights: str) -> FQAQuality:
    """The paper's network from its ONNX file.

    Raises:
        UsageError: if no file is named or onnxruntime is not installed.
        InputError: if the file is missing or no ONNX network.
    """
    if not weights:
        raise UsageError("fqa needs its network; pass --photos.quality-weights model.onnx")
    if not Path(weights).is_file():
        raise InputError(f"{weights}: no such file; give the ONNX file of the quality network")
    runtime = require("onnxruntime", "curate")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    faults = runtime.capi.onnxruntime_pybind11_state
    try:
        return FQAQuality(runtime.InferenceSession(weights, options, providers=["CPUExecutionProvider"]))
    except (faults.Fail, faults.InvalidProtobuf, faults.InvalidGraph, faults.InvalidArgument) as error:
        reason = str(error).splitlines()[0][:160]
        raise InputError(f"{weights}: is no ONNX network ({reason}); download it again") from error


BIAS = -9.215
COEFFICIENTS: Mapping[str, float] = {
    "sharpness": -1.71,
    "sharpness_squared": -0.486,
    "size": 0.856,
    "exposure": 3.226,
    "contrast": 3.168,
    "norm": 3.609,
}
"""Fitted on photos of peopleDevTrain of Labeled Faces in the Wild, three in four of them spoiled. The head's turn made
no difference there, so it is left out."""
