"""Repeated measurements as figures, and files of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any

from diffpc.files import atomic_write


@dataclass(frozen=True)
class Figure:
    """What repeated measurements of one quantity gave."""

    n: int
    """Measurements."""
    median: float
    quartiles: tuple[float, float]
    """First and third, interpolated between measurements."""
    values: tuple[float, ...]
    """In the order in which they were taken."""


def figure(values: Sequence[float]) -> Figure:
    """Median and quartiles of at least one measurement."""
    whole = list(values)
    first, middle, third = quantiles(whole, n=4, method="inclusive") if len(whole) > 1 else whole * 3
    return Figure(len(whole), middle, (first, third), tuple(whole))


def ratio(first: Sequence[float], second: Sequence[float]) -> Figure:
    """first / second round by round: what slows the machine for a while slows both."""
    return figure([one / other for one, other in zip(first, second, strict=True)])


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file of results, whole or not at all."""
    with atomic_write(path) as stream:
        stream.write((json.dumps(content, indent=1) + "\n").encode())
