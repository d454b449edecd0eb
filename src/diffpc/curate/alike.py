"""Copies of a photo: a perceptual hash, and which of many hashes lie close together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt64

from diffpc.types import Image

BITS = 64
_SIDE, _KEPT = 32, 8


def perceptual_hash(image: Image) -> int:
    """64 bits that survive scaling, compression and small changes of light (pHash).

    Signs against their median of the 8 x 8 lowest frequencies of the photo's cosine transform at 32 x 32, gray
    (C. Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions, 2010).
    """
    gray = cv2.cvtColor(cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    low = cv2.dct(gray.astype(np.float32))[:_KEPT, :_KEPT].flatten()
    low[0] = 0.0  # the mean brightness: no sign of its own
    bits = low > np.median(low)
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def near_pairs(hashes: UInt64[np.ndarray, " N"], most: int) -> Iterator[tuple[int, int]]:
    """All pairs of rows (first < second) whose hashes differ in at most `most` bits, each once, in no order.

    Of most + 1 bands of bits, one at least is equal in such a pair: only rows that share a band are compared.
    """
    edges = np.linspace(0, BITS, most + 2).round().astype(int)
    for number, (start, stop) in enumerate(pairwise(edges)):
        keys = hashes >> np.uint64(start) & np.uint64((1 << int(stop - start)) - 1)
        order = np.argsort(keys, kind="stable")
        borders = np.flatnonzero(np.diff(keys[order])) + 1
        for rows in np.split(order, borders):
            yield from _close(hashes, np.sort(rows), most, edges[: number + 1])


def kept_of(count: int, pairs: Sequence[tuple[int, int]], better: Callable[[int], Any]) -> dict[int, int]:
    """Copy -> the row that is kept in its stead.

    Args:
        count: rows.
        pairs: of rows that are alike.
        better: sort key of a row; the smallest is kept.
    """
    alike: dict[int, list[int]] = defaultdict(list)
    for first, second in pairs:
        alike[first].append(second)
        alike[second].append(first)
    kept: set[int] = set()
    copies: dict[int, int] = {}
    for row in sorted(range(count), key=better):
        models = [other for other in alike[row] if other in kept]
        if models:
            copies[row] = min(models, key=better)
        else:
            kept.add(row)
    return copies


def _close(
    hashes: UInt64[np.ndarray, " N"], rows: np.ndarray, most: int, edges: np.ndarray
) -> Iterator[tuple[int, int]]:
    """Close pairs among rows that share the last band of `edges` and none before it."""
    for place, row in enumerate(rows[:-1]):
        others = rows[place + 1 :]
        differing = hashes[row] ^ hashes[others]
        new = np.ones(len(others), bool)
        for start, stop in pairwise(edges):
            band = np.uint64((1 << int(stop - start)) - 1) << np.uint64(start)
            new &= (differing & band) != 0
        near = np.bitwise_count(differing) <= most
        yield from ((int(row), int(other)) for other in others[near & new])
