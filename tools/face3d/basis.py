"""The linear face model learnt from labelled photos: mean, identity basis, semantic expression basis.

Coordinates: the frontal frame, x to the image's right, y up, z to the viewer, unit = the mean face's distance
between the outer eye corners.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from tools.face3d.align import nearest_rotation, similarity
from tools.face3d.labels import BLENDSHAPES, Labels, interocular

LEAST_DEVIATION = 0.015
"""A blendshape whose standard deviation is below this in both halves of the face taught the data nothing."""
NOT_IN_THE_MESH = ("eyeLookIn", "eyeLookOut")
"""Sideways gaze moves the irises, which the 468 points leave out."""
PHOTOS_PER_PERSON = 30
RESIDUAL_DEVIATION = 0.2
"""Standard deviation of the coefficients of the residual directions: near that of the blendshapes."""
FLIP = np.array([-1, 1, 1], np.float32)


@dataclass(frozen=True)
class Basis:
    """vertices = mean + shape . shape_basis + expression . expression_basis"""

    mean: NDArray[np.float32]
    """(V, 3)"""
    shape: NDArray[np.float32]
    """(S, V, 3); coefficients have unit variance over persons."""
    expression: NDArray[np.float32]
    """(E, V, 3); coefficients are the teacher's blendshapes in [0, 1], then the residual directions."""
    names: tuple[str, ...]
    """E names of the expression coefficients."""
    mirror: NDArray[np.int64]
    """(V,) the vertex on the other side of the face."""
    weight: NDArray[np.float32]
    """(V,) trust in a vertex when aligning rigidly; sums to 1."""


def align_all(labels: Labels) -> tuple[NDArray, NDArray]:
    """Photos' points in a common frontal frame -> mean (V, 3), weights (V,).

    The frame is the teacher's canonical one (its rotations, averaged), so pose angles agree.
    """
    frontal = labels.points @ labels.rotation
    mean = (frontal / interocular(frontal)[:, None, None]).mean(0)
    weight = np.ones(len(mean), np.float32)
    for _ in range(5):
        mean = _unit(mean)
        found = similarity(mean, labels.points, weight)
        aligned = found.invert(labels.points)
        mean = aligned.mean(0)
        spread = ((aligned - mean) ** 2).sum(2).mean(0)
        weight = (1 / np.sqrt(spread)).astype(np.float32)
    offset = nearest_rotation(np.einsum("nij,nik->jk", labels.rotation, found.rotation))
    return _unit(mean @ offset.T).astype(np.float32), weight / weight.sum()


def mirror_pairs(mean: NDArray) -> NDArray[np.int64]:
    """The vertex opposite each one, by the best assignment of the mean to its mirror image."""
    cost = ((mean[:, None] - (mean * FLIP)[None]) ** 2).sum(2)
    return linear_sum_assignment(cost)[1].astype(np.int64)


def mirrored(points: NDArray, mirror: NDArray) -> NDArray:
    """(..., V, 3) seen in a mirror, the vertices renamed so that left stays left."""
    return points[..., mirror, :] * FLIP


def mirrored_name(name: str) -> str:
    """mouthSmileLeft -> mouthSmileRight, and back; names without a side stay."""
    for side, other in (("Left", "Right"), ("Right", "Left")):
        if name.endswith(side):
            return name.removesuffix(side) + other
    return name


def semantic_names(blendshapes: NDArray) -> tuple[str, ...]:
    """The blendshapes that vary enough to be learnt, a pair kept or dropped together."""
    deviation = dict(zip(BLENDSHAPES, blendshapes.std(0), strict=True))
    return tuple(
        name
        for name in BLENDSHAPES
        if max(deviation[name], deviation[mirrored_name(name)]) >= LEAST_DEVIATION
        and not name.startswith(NOT_IN_THE_MESH)
    )


def columns(names: tuple[str, ...]) -> list[int]:
    """Positions of the names among BLENDSHAPES."""
    return [BLENDSHAPES.index(name) for name in names]


def name_mirror(names: tuple[str, ...]) -> list[int]:
    """For each name the position of its mirror image."""
    return [names.index(mirrored_name(name)) for name in names]


def person_means(values: NDArray, person: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Means over each person's rows -> means (K, ...), each row's person (N,), rows per person (K,)."""
    _, which, count = np.unique(person, return_inverse=True, return_counts=True)
    total = np.zeros((len(count), *values.shape[1:]), np.float64)
    np.add.at(total, which, values)
    return (total / count.reshape(-1, *[1] * (values.ndim - 1))).astype(np.float32), which, count


def expression_basis(
    aligned: NDArray, blendshapes: NDArray, labels: Labels, mirror: NDArray, ridge: float
) -> NDArray:
    """Regress within-person deviations of the vertices on those of the blendshapes -> (E, V, 3).

    Yaw and pitch stand beside the blendshapes and are dropped afterwards, or the teacher's pose-dependent
    errors would be taken for expressions. Every photo also enters mirrored: the basis is exactly symmetric.
    """
    names = semantic_names(labels.blendshapes)
    swap = name_mirror(names)
    forward = labels.rotation[:, :2, 2]
    rows, targets = [], []
    for flip in (False, True):
        scores = blendshapes[:, swap] if flip else blendshapes
        turn = forward * [-1, 1] if flip else forward
        points = mirrored(aligned, mirror) if flip else aligned
        values = np.concatenate([scores, turn], 1)
        mean, which, count = person_means(values, labels.person)
        mean_points, _, _ = person_means(points, labels.person)
        keep = (count > 1)[which]
        weight = np.minimum(1, np.sqrt(PHOTOS_PER_PERSON / count))[which][keep, None]
        rows.append(((values - mean[which])[keep] * weight).astype(np.float64))
        targets.append((points - mean_points[which]).reshape(len(points), -1)[keep] * weight)
    design, target = np.concatenate(rows), np.concatenate(targets)
    gram = design.T @ design + ridge * np.eye(design.shape[1])
    solution = np.linalg.solve(gram, design.T @ target)
    return solution[: len(names)].reshape(len(names), *aligned.shape[1:]).astype(np.float32)


def principal(samples: NDArray, count: int, mirror: NDArray, deviation: float = 1.0) -> NDArray[np.float32]:
    """Symmetrised principal directions of (N, V, 3) -> (count, V, 3), coefficients of this deviation."""
    both = np.concatenate([samples, mirrored(samples, mirror)]).reshape(2 * len(samples), -1)
    covariance = both.T @ both / len(both)
    values, vectors = np.linalg.eigh(covariance.astype(np.float64))
    leading = vectors[:, ::-1][:, :count] * np.sqrt(np.maximum(values[::-1][:count], 0)) / deviation
    return leading.T.reshape(count, *samples.shape[1:]).astype(np.float32)


def _unit(mean: NDArray) -> NDArray:
    """Centred, with an inter-ocular distance of 1."""
    mean = mean - mean.mean(0)
    return mean / interocular(mean)
