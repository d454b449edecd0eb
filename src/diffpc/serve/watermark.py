"""An invisible mark in the pixels: `blind-watermark` (MIT; wavelets, DCT and SVD; no weights, works offline).

Chosen by measurement: its 32 bits come back whole from pictures of 128 to 1024 px after JPEG at quality 75, at a PSNR
of 38 dB. `invisible-watermark` refuses pictures under 256 px; TrustMark downloads its weights.
"""

from __future__ import annotations

import multiprocessing
from functools import cache
from typing import Any

import numpy as np

from diffpc.backends import require
from diffpc.types import Image

SIGN = b"DfPC"
"""The mark: 32 bits that say "made by Diff-PC" and nothing of the client."""

PASSWORD = 1
"""The library shuffles by it; public, so that everyone can look for the mark."""

LARGEST = 256
"""Pixels of the side of the middle part that carries the mark: 0.3 s of work, where 1024 would take 5."""


def mark(image: Image) -> Image:
    """The picture with the mark in its middle; the same picture gives the same result."""
    core, middle = _core(), _middle(image)
    core.read_img_arr(np.ascontiguousarray(image[middle][..., ::-1]))
    core.read_wm(_bits())
    marked = image.copy()
    marked[middle] = np.clip(np.rint(core.embed()), 0, 255).astype(np.uint8)[..., ::-1]
    return marked


def is_marked(image: Image) -> bool:
    """Whether the mark is in the picture, whole. An unmarked one has it by chance once in 2^32."""
    part = np.ascontiguousarray(image[_middle(image)][..., ::-1])
    found = _core().extract_with_kmeans(part, wm_shape=(len(_bits()),))
    return bool(np.array_equal(np.asarray(found).astype(bool), _bits()))


def _middle(image: Image) -> tuple[slice, slice]:
    starts = [max(0, (side - LARGEST) // 2) for side in image.shape[:2]]
    rows, columns = (slice(start, start + LARGEST) for start in starts)
    return rows, columns


def _bits() -> np.ndarray:
    return np.unpackbits(np.frombuffer(SIGN, np.uint8)).astype(bool)


@cache
def library() -> Any:
    """The package, imported so that nothing else changes: it sets how the process starts others, and greets.

    Raises:
        UsageError: if it is not installed.
    """
    before = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method(None, force=True)
    try:
        package = require("blind_watermark", "serve")
    finally:
        multiprocessing.set_start_method(before, force=True)
    package.bw_notes.close()
    return package


def _core() -> Any:
    return library().WaterMarkCore(password_img=PASSWORD)
