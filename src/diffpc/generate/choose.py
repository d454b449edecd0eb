"""The best of several seeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diffpc.eyes import Likeness

WEIGHTS = (1.0, -0.5, -0.5)
"""Of similarity, pose error and expression error."""


def scores(found: Sequence[Likeness]) -> list[float | None]:
    """How good each candidate is among the others: z(similarity) - (z(pose error) + z(expression error)) / 2.

    z is the distance from the candidates' mean in standard deviations, 0 where all are equal: so the measures
    weigh alike whatever their units, and likeness weighs as much as both kinds of obedience together.

    Returns:
        One score per candidate; None for one without a face.
    """
    seen = [one for one in found if one.similarity is not None]
    if not seen:
        return [None] * len(found)
    figures = np.array([[one.similarity, one.pose_error, one.expression_error] for one in seen], float)
    deviation = figures.std(axis=0)
    relative = (figures - figures.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)
    values = iter((relative @ WEIGHTS).round(4).tolist())
    return [None if one.similarity is None else next(values) for one in found]


def best(found: Sequence[Likeness], count: int) -> list[int]:
    """The numbers of the best `count` candidates, the best first; those without a face come last."""
    rated = scores(found)
    return sorted(range(len(found)), key=lambda at: _order(rated[at]))[:count]


def _order(score: float | None) -> tuple[bool, float]:
    return score is None, -(score or 0.0)
