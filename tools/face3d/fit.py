"""Least squares: the linear face model's coefficients from a photo's points."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tools.face3d.align import Similarity, similarity
from tools.face3d.basis import Basis, columns, person_means
from tools.face3d.labels import Labels

POINT_DEVIATION = 0.01
"""What the basis cannot explain, per coordinate, in inter-ocular distances: the least-squares' noise."""
BLENDSHAPE_DEVIATION = 0.15
"""How far a semantic coefficient may stray from the teacher's score."""
RESIDUAL_DEVIATION = 0.2
ROUNDS = 5


@dataclass(frozen=True)
class Fitted:
    """N photos. world = scale * rotation @ vertices + translation, photo pixels, y up, z to the viewer."""

    shape: NDArray[np.float32]
    """(N, S), one and the same for all photos of a person."""
    expression: NDArray[np.float32]
    """(N, E)"""
    pose: Similarity


def model_vertices(basis: Basis, shape: NDArray, expression: NDArray) -> NDArray[np.float32]:
    """(N, S), (N, E) -> (N, V, 3) in the frontal frame."""
    return (
        basis.mean + np.tensordot(shape, basis.shape, 1) + np.tensordot(expression, basis.expression, 1)
    ).astype(np.float32)


def fit(basis: Basis, labels: Labels, per_person: bool = True) -> Fitted:
    """Pose, expression and identity in turn, each the maximum a posteriori given the others.

    Semantic coefficients have the teacher's score as prior mean: geometry decides where it can, and where
    blendshapes look alike the teacher does.
    """
    prior, precision = _expression_prior(basis, labels)
    expression = prior.copy()
    shape = np.zeros((len(labels), len(basis.shape)), np.float32)
    person = labels.person if per_person else np.arange(len(labels)).astype(str)
    for _ in range(ROUNDS):
        pose = similarity(model_vertices(basis, shape, expression), labels.points, basis.weight)
        aligned = pose.invert(labels.points) - basis.mean
        shape = _fit_shape(basis, aligned - np.tensordot(expression, basis.expression, 1), person)
        rest = aligned - np.tensordot(shape, basis.shape, 1)
        expression = _ridge(basis.expression, rest, precision, prior)
    pose = similarity(model_vertices(basis, shape, expression), labels.points, basis.weight)
    return Fitted(shape, expression, pose)


def reconstruct(basis: Basis, fitted: Fitted) -> NDArray[np.float32]:
    """(N, V, 3) the model's vertices in photo pixels."""
    return fitted.pose.apply(model_vertices(basis, fitted.shape, fitted.expression))


def _expression_prior(basis: Basis, labels: Labels) -> tuple[NDArray, NDArray]:
    """Prior mean (N, E) and precision (E,) of the expression."""
    semantic = tuple(name for name in basis.names if not name.startswith("residual"))
    residual = len(basis.names) - len(semantic)
    scores = labels.blendshapes[:, columns(semantic)]
    deviation = np.array([BLENDSHAPE_DEVIATION] * len(semantic) + [RESIDUAL_DEVIATION] * residual)
    return np.pad(scores, ((0, 0), (0, residual))), 1 / deviation**2


def _fit_shape(basis: Basis, rest: NDArray, person: NDArray) -> NDArray[np.float32]:
    """Identity per person from the mean of what expression leaves (N, V, 3) -> (N, S)."""
    mean, which, count = person_means(rest, person)
    # a mean over n photos is n times as certain as one photo, up to the errors the photos share
    precision = np.ones(len(basis.shape))
    few = _ridge(basis.shape, mean, precision, np.zeros((len(count), len(basis.shape)), np.float32))
    return few[which]


def _ridge(directions: NDArray, target: NDArray, precision: NDArray, prior: NDArray) -> NDArray[np.float32]:
    """argmin |target - c . directions|^2 / POINT_DEVIATION^2 + precision (c - prior)^2 -> (N, C)."""
    flat = directions.reshape(len(directions), -1).astype(np.float64)
    gram = flat @ flat.T / POINT_DEVIATION**2 + np.diag(precision)
    right = target.reshape(len(target), -1) @ flat.T / POINT_DEVIATION**2 + prior * precision
    return np.linalg.solve(gram, right.T).T.astype(np.float32)
