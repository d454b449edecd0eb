"""How well a face can be seen: judges of face quality by name, each in [0, 1] with 0.5 as the border.

The paper's network (FQA of ModelScope) is the user's to bring. The own measure is `faces.quality`.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from diffpc.backends import load, require
from diffpc.curate.record import Record, needed
from diffpc.errors import InputError, UsageError
from diffpc.faces.align import ARCFACE_112, align
from diffpc.faces.quality import face_quality, quality_features

QUALITY_MEASURES: dict[str, str] = {
    "light": "diffpc.curate.quality:light_quality",
    "fqa": "diffpc.curate.quality:fqa_quality",
}
"""name -> factory(weights) -> QualityMeasure."""


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


class LightQuality:
    """`faces.quality.face_quality` of what was measured before."""

    def __call__(self, record: Record) -> float:
        """See `QualityMeasure`."""
        norm = float(np.linalg.norm(needed(record.embedding, "embedding")))
        return face_quality(quality_features(record.measures, norm))


def light_quality(weights: str) -> LightQuality:
    """The own measure; it needs no file."""
    if weights:
        raise UsageError(f"the light quality measure takes no weights; leave out {weights}, or choose fqa")
    return LightQuality()


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
