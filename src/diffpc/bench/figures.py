"""Repeated measurements as figures, and files of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any

import numpy as np

from diffpc.files import atomic_write


@dataclass(frozen=True)
class Figure:
    """What repeated measurements of one quantity gave."""

    n: int
    """Measurements."""
    median: float
    quartiles: tuple[float, float]
    """First and third, interpolated between measurements."""
    p95: float
    """The 95th percentile, interpolated."""
    values: tuple[float, ...]
    """In the order in which they were taken."""


def figure(values: Sequence[float]) -> Figure:
    """Median, quartiles and 95th percentile of at least one measurement."""
    whole = list(values)
    cuts = quantiles(whole, n=20, method="inclusive") if len(whole) > 1 else whole * 19
    return Figure(len(whole), cuts[9], (cuts[4], cuts[14]), cuts[18], tuple(whole))


def ratio(first: Sequence[float], second: Sequence[float]) -> Figure:
    """first / second round by round: what slows the machine for a while slows both."""
    return figure([one / other for one, other in zip(first, second, strict=True)])


def interval(values: Sequence[float], seed: int = 0, samples: int = 2000) -> tuple[float, float]:
    """95 % bootstrap interval of the median: its quantiles over random draws of the measurements, with repeats."""
    generator = np.random.default_rng(seed)
    drawn = generator.choice(np.asarray(values), (samples, len(values)))
    low, high = np.quantile(np.median(drawn, axis=1), (0.025, 0.975))
    return float(low), float(high)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file of results, whole or not at all."""
    with atomic_write(path) as stream:
        stream.write((json.dumps(content, indent=1) + "\n").encode())
