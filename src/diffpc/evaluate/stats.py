"""Means that say how far they can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

ROUNDS = 2000
"""Bootstrap samples."""

LEVEL = 0.95
"""Of the confidence intervals."""


@dataclass(frozen=True)
class Figure:
    """One number of a report."""

    name: str
    value: float | None
    """None: not available, and `note` says what it needs."""
    low: float | None = None
    """Ends of the 95 % interval: bootstrap over persons; None where there is none."""
    high: float | None = None
    count: int = 0
    """Portraits (or pairs) that the value is of."""
    persons: int = 0
    missed: int = 0
    """Portraits without a face or without a picture."""
    policy: str = ""
    """What became of those that were missed."""
    better: str = "higher"
    """higher or lower; "" where neither is."""
    note: str = ""
    unit: str = ""


@dataclass(frozen=True)
class Rule:
    """How a column of values becomes a figure."""

    name: str
    better: str = "higher"
    missed: float | None = None
    """What a missed face counts as; None leaves it out."""
    scale: float = 1.0
    """The value and its interval are multiplied by it."""
    note: str = ""
    unit: str = ""

    @property
    def policy(self) -> str:
        """In words."""
        return "left out" if self.missed is None else f"counted as {self.missed * self.scale:g}"


def bootstrap(
    values: Float[np.ndarray, " N"], persons: Sequence[str], rounds: int = ROUNDS, seed: int = 0
) -> tuple[float, float]:
    """The 95 % percentile interval of the mean, when persons are drawn again with replacement.

    Portraits of one person are alike, so persons are drawn, not portraits. One person alone gives an interval of
    no width.
    """
    names, index = np.unique(np.asarray(persons), return_inverse=True)
    sums = np.bincount(index, weights=values, minlength=len(names))
    counts = np.bincount(index, minlength=len(names))
    drawn = np.random.default_rng(seed).integers(len(names), size=(rounds, len(names)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    tail = (1 - LEVEL) / 2 * 100
    low, high = np.percentile(means, [tail, 100 - tail])
    return float(low), float(high)


def summarise(values: Float[np.ndarray, " N"], persons: Sequence[str], rule: Rule) -> Figure:
    """Mean and interval of a column.

    Args:
        values: one per portrait; not a number where no face was found or no picture drawn.
        persons: whose portrait it is.
        rule: name, direction and what a missed face counts as.
    """
    missed: Bool[np.ndarray, " N"] = np.isnan(values)
    kept = ~missed if rule.missed is None else np.ones(len(values), bool)
    filled = np.where(missed, 0.0 if rule.missed is None else rule.missed, values)[kept] * rule.scale
    owners = [person for person, keep in zip(persons, kept, strict=True) if keep]
    found = Figure(
        rule.name, None, missed=int(missed.sum()), policy=rule.policy, better=rule.better, unit=rule.unit
    )
    if not owners:
        return replace(found, note="not available: no portrait has a value")
    low, high = bootstrap(filled, owners)
    return replace(
        found,
        value=float(filled.mean()),
        low=low,
        high=high,
        count=len(owners),
        persons=len(set(owners)),
        note=rule.note,
    )


def unavailable(name: str, needs: str, better: str = "higher") -> Figure:
    """A figure that cannot be had."""
    return Figure(name, None, note=f"not available: needs {needs}", better=better)
