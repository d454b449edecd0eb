"""The face detector of antelopev2: SCRFD, through insightface.

The code is MIT; the weights are for non-commercial research only and are the user's to fetch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from diffpc.backends import require
from diffpc.errors import InputError
from diffpc.faces.assets import insightface_model
from diffpc.faces.detect import largest_first
from diffpc.types import Face, Image

DETECTOR_FILE = "scrfd_10g_bnkps.onnx"

INPUT_SIZE = (640, 640)
"""Always given: without it insightface 1.0 and later run 128 and 640 jointly."""


@runtime_checkable
class _Scrfd(Protocol):
    """insightface's SCRFD."""

    def detect(self, img: np.ndarray, input_size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
        """Return boxes with scores (N, 5) and landmarks (N, 5, 2) of a BGR image."""
        ...


class InsightFaceDetector:
    """SCRFD-10G with five landmarks on the CPU; score at least 0.5, overlap (IoU) at most 0.4."""

    tried = "SCRFD-10G at 640 x 640, scores of 0.5 and more"

    def __init__(self, scrfd: _Scrfd) -> None:
        self._scrfd = scrfd

    def __call__(self, image: Image) -> tuple[Face, ...]:
        """Return the faces, largest first."""
        bgr = np.ascontiguousarray(image[:, :, ::-1])
        boxes, landmarks = self._scrfd.detect(bgr, input_size=INPUT_SIZE)
        return largest_first(
            [_face(box, points) for box, points in zip(boxes, landmarks, strict=True)] if len(boxes) else []
        )


def insightface_detector(root: Path | None = None) -> InsightFaceDetector:
    """Build the detector.

    Args:
        root: where antelopev2 lies; see `assets.insightface_model`.

    Raises:
        UsageError: if insightface or onnxruntime is not installed, or `root` is no folder.
        InputError: if the model file is missing or damaged.
    """
    runtime = require("onnxruntime", "insightface")
    scrfd = require("insightface.model_zoo.scrfd", "insightface")
    path = insightface_model(DETECTOR_FILE, root)
    failures = runtime.capi.onnxruntime_pybind11_state
    try:
        session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except (failures.InvalidProtobuf, failures.InvalidGraph, failures.Fail) as error:
        raise InputError(f"{path} is damaged or no ONNX file; download it again") from error
    detector = scrfd.SCRFD(model_file=str(path), session=session)
    if not detector.use_kps:
        raise InputError(f"{path} gives no landmarks; use antelopev2's {DETECTOR_FILE}")
    return InsightFaceDetector(detector)


def _face(box: np.ndarray, landmarks: np.ndarray) -> Face:
    x0, y0, x1, y1, score = (float(value) for value in box)
    points = np.asarray(landmarks, dtype=np.float64)
    return Face((x0, y0, x1, y1), points, "eyes_nose_mouth", score)
