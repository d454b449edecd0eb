"""Text in a photo, such as a watermark: who finds it, by name."""

from __future__ import annotations

import logging
from typing import Protocol, cast, runtime_checkable

import cv2
import numpy as np

from diffpc.backends import load, require
from diffpc.curate.record import Box
from diffpc.types import Image

TEXT_FINDERS: dict[str, str] = {
    "rapidocr": "diffpc.curate.text:rapidocr_finder",
    "none": "diffpc.curate.text:NoFinder",
}
"""name -> factory() -> TextFinder."""

SIDE = 320
"""Greatest side in pixels of what the network sees."""

CONFIDENCE = 0.8
"""Least confidence with which text is read. Of 40 photos of faces the finder marks 12, mostly the face as a whole,
but reads none of them so surely; it reads a watermark with 0.99."""

CHARACTERS = 3
"""Least letters and digits of a text: wrinkles are read as one or two."""


@runtime_checkable
class TextFinder(Protocol):
    """Finds and reads text; the same image always gives the same boxes."""

    def __call__(self, image: Image) -> list[tuple[Box, str]]:
        """Boxes in pixels of the image, and what is written there."""
        ...


def load_text_finder(name: str) -> TextFinder:
    """A text finder by name.

    Raises:
        UsageError: if the name is unknown or its package is not installed.
    """
    return load("text finder", name, TEXT_FINDERS)()


class RapidOCRFinder:
    """PP-OCR's networks as rapidocr ships them: finds regions, then keeps those it can read."""

    def __init__(self) -> None:
        package = require("rapidocr", "curate")
        logging.getLogger("RapidOCR").setLevel(logging.CRITICAL)  # it reports every image without text
        threads = {f"EngineConfig.onnxruntime.{kind}_op_num_threads": 1 for kind in ("intra", "inter")}
        self._read = package.RapidOCR(
            params={
                "Global.log_level": "critical",
                "Det.limit_side_len": SIDE,
                "Det.limit_type": "max",
                **threads,
            }
        )

    def __call__(self, image: Image) -> list[tuple[Box, str]]:
        """See `TextFinder`."""
        factor = min(1.0, SIDE / max(image.shape[:2]))
        size = (round(image.shape[1] * factor), round(image.shape[0] * factor))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        bgr = np.ascontiguousarray(small[..., ::-1])  # the networks were trained on OpenCV's order
        found = self._read(bgr, use_det=True, use_cls=False, use_rec=True)
        if found.boxes is None or found.txts is None:
            return []
        boxes = np.asarray(found.boxes, np.float64) / factor
        texts = zip(boxes, found.txts, cast(tuple[float, ...], found.scores), strict=True)
        return [
            (_bounds(box), text)
            for box, text, score in texts
            if score >= CONFIDENCE and _says_something(text)
        ]


def rapidocr_finder() -> RapidOCRFinder:
    """See `load_text_finder`."""
    return RapidOCRFinder()


class NoFinder:
    """Finds nothing: leaves the stage out."""

    def __call__(self, image: Image) -> list[tuple[Box, str]]:
        """See `TextFinder`."""
        del image
        return []


def touches(first: Box, second: Box) -> bool:
    """Whether two boxes share a point."""
    return all(first[axis] <= second[axis + 2] and second[axis] <= first[axis + 2] for axis in (0, 1))


def _bounds(corners: np.ndarray) -> Box:
    (x0, y0), (x1, y1) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    return x0, y0, x1, y1


def _says_something(text: str) -> bool:
    return sum(letter.isalnum() for letter in text) >= CHARACTERS
