"""The metrics, each a function of arrays: one row per portrait, not a number where a face was missed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int

from diffpc.face3d.flame import axis_angle_to_matrix

_SMALL = 1e-6


def cosine(
    first: Float[np.ndarray, "N D"],
    second: Float[np.ndarray, "N D"],
    centre: Float[np.ndarray, " D"] | None = None,
) -> Float[np.ndarray, " N"]:
    """Sim: the cosine of two vectors, seen from `centre`.

    Vectors of a network that learnt distances lie close together far from the origin; from their common mean the
    angle between two persons is wide (method.md, weak points).
    """
    if centre is not None:
        first, second = first - centre, second - centre
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return (first * second).sum(axis=1) / norms


def accepted(similarity: Float[np.ndarray, " N"], threshold: float) -> Float[np.ndarray, " N"]:
    """1 where a verifier says "the same person", else 0."""
    return np.where(np.isnan(similarity), np.nan, (similarity >= threshold).astype(float))


def retrieved(
    portraits: Float[np.ndarray, "N D"],
    references: Float[np.ndarray, "M D"],
    owner: Int[np.ndarray, " N"],
    centre: Float[np.ndarray, " D"] | None = None,
) -> Float[np.ndarray, " N"]:
    """1 where a portrait's nearest reference, of all the benchmark's persons, is its own, else 0.

    Args:
        portraits: vectors.
        references: one per person; persons whose reference has no face are nobody's nearest.
        owner: row of `references` that belongs to each portrait.
        centre: see `cosine`.
    """
    shift = np.zeros(references.shape[1]) if centre is None else centre
    table = _unit(portraits - shift) @ _unit(references - shift).T
    nearest = np.where(np.isnan(table), -np.inf, table).argmax(axis=1)
    hit = (nearest == owner).astype(float)
    return np.where(np.isnan(portraits).any(axis=1), np.nan, hit)


def coefficient_error(
    found: Float[np.ndarray, "N C"], wanted: Float[np.ndarray, "N C"], columns: Sequence[int] | None = None
) -> Float[np.ndarray, " N"]:
    """Shape, Expr, Pose: 100 times the root mean square difference of raw coefficients (method.md, point 18).

    Args:
        found: of the portraits.
        wanted: of the reference (shape) or the target.
        columns: which coefficients count; None counts all.
    """
    difference = found - wanted if columns is None else (found - wanted)[:, list(columns)]
    return 100 * np.sqrt(np.square(difference).mean(axis=1))


def rotation_error(
    found: Float[np.ndarray, "N 3"], wanted: Float[np.ndarray, "N 3"]
) -> Float[np.ndarray, " N"]:
    """The angle between two head rotations in degrees; axis-angle vectors in radians."""
    one, other = (
        axis_angle_to_matrix(torch.from_numpy(np.nan_to_num(each)).double()) for each in (found, wanted)
    )
    trace = (one.transpose(1, 2) @ other).diagonal(dim1=1, dim2=2).sum(1)
    degrees = torch.rad2deg(((trace - 1) / 2).clamp(-1, 1).acos()).numpy()
    return np.where(np.isnan(found).any(axis=1) | np.isnan(wanted).any(axis=1), np.nan, degrees)


def yaw_degrees(rotations: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, " N"]:
    """How far heads turn to the image's right; axis-angle vectors in radians. As `face3d.pose.euler_degrees`."""
    turned = axis_angle_to_matrix(torch.from_numpy(np.nan_to_num(rotations)).double())
    degrees = torch.rad2deg((-turned[:, 2, 0]).clamp(-1, 1).asin()).numpy()
    return np.where(np.isnan(rotations).any(axis=1), np.nan, degrees)


def correlated(found: Float[np.ndarray, " N"], wanted: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """Pearson's correlation, portrait by portrait: the products of the standardised values, whose mean it is.

    Returns:
        Not a number where either is; 0 everywhere if one of them is the same everywhere.
    """
    known = ~(np.isnan(found) | np.isnan(wanted))
    product = np.where(known, 1.0, np.nan)
    for values in (found, wanted):
        away = values - values[known].mean() if known.any() else values
        spread = np.sqrt(np.square(away[known]).mean()) if known.any() else 0.0
        product = product * (away / spread if spread > 0 else 0.0)
    return product


def mean_difference(
    found: Float[np.ndarray, "N C"], wanted: Float[np.ndarray, "N C"]
) -> Float[np.ndarray, " N"]:
    """The mean absolute difference over columns."""
    return np.abs(found - wanted).mean(axis=1)


def copy_score(
    portrait: Float[np.ndarray, "N D"],
    reference: Float[np.ndarray, "N D"],
    other: Float[np.ndarray, "N D"],
    centre: Float[np.ndarray, " D"] | None = None,
) -> Float[np.ndarray, " N"]:
    """WithAnyone's copy-paste metric: (angle to the other photo - angle to the reference) / angle between both.

    1: as near to the reference as can be; 0: no nearer to the reference than to a photo of the same person that
    the system never saw; below 0: nearer to that one. Source: Doby-Xu/WithAnyone @ b743bb9, MultiID_Bench. Two
    photos that are the same vector give 0, as there.
    """
    to_other, to_reference, between = (
        np.arccos(np.clip(cosine(one, two, centre), -1, 1))
        for one, two in ((portrait, other), (portrait, reference), (other, reference))
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        score = (to_other - to_reference) / between
    return np.where(between < _SMALL, 0.0, score)


def _unit(vectors: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N D"]:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
