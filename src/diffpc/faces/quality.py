"""How well a face can be seen: the chance that dlib's embedder still recognises the person.

A logistic regression over what is measured anyway. `tools/curate/fit_quality.py` fits it; docs/curate.md says how
well it does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import cv2
import numpy as np

from diffpc.types import Face, Image

FEATURES = ("sharpness", "sharpness_squared", "size", "exposure", "contrast", "norm")
"""What the quality is read from, in the order of its coefficients."""


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


def quality_features(measures: Mapping[str, float], norm: float) -> Mapping[str, float]:
    """FEATURES from what `face_measures` found in dlib's chip, and the length of dlib's raw vector."""
    squared = measures["sharpness"] ** 2  # noise is as bad as blur: the best lies between
    return {**measures, "sharpness_squared": squared, "norm": norm}


def face_quality(features: Mapping[str, float]) -> float:
    """1 / (1 + exp(-(bias + sum of coefficient x feature))): 0 is useless, 0.5 the border, 1 the best."""
    logit = BIAS + sum(factor * features[name] for name, factor in COEFFICIENTS.items())
    return 1 / (1 + math.exp(-min(max(logit, -30.0), 30.0)))


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
