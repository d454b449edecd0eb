"""Similarity alignment of point sets, weighted, in batches (Umeyama 1991)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Similarity:
    """x -> scale * rotation @ x + translation, for N sets."""

    scale: NDArray
    """(N,)"""
    rotation: NDArray
    """(N, 3, 3)"""
    translation: NDArray
    """(N, 3)"""

    def apply(self, points: NDArray) -> NDArray:
        """(N, V, 3) or (V, 3) -> (N, V, 3)."""
        return (
            self.scale[:, None, None] * (points @ self.rotation.transpose(0, 2, 1))
            + self.translation[:, None]
        )

    def invert(self, points: NDArray) -> NDArray:
        """The inverse map of (N, V, 3)."""
        return (points - self.translation[:, None]) @ self.rotation / self.scale[:, None, None]


def similarity(source: NDArray, target: NDArray, weight: NDArray) -> Similarity:
    """The similarities that take `source` (N, V, 3) or (V, 3) closest to `target` (N, V, 3), weights (V,)."""
    weight = (weight / weight.sum()).astype(target.dtype)
    source = np.broadcast_to(source, target.shape)
    source_centre = np.einsum("v,nvc->nc", weight, source)
    target_centre = np.einsum("v,nvc->nc", weight, target)
    moved = source - source_centre[:, None]
    covariance = np.einsum("v,nvi,nvj->nij", weight, target - target_centre[:, None], moved, optimize=True)
    u, singular, vt = np.linalg.svd(covariance)
    sign = np.ones_like(singular)
    sign[:, 2] = np.sign(np.linalg.det(u) * np.linalg.det(vt))
    rotation = (u * sign[:, None]) @ vt
    scale = (singular * sign).sum(1) / np.einsum("v,nvc->n", weight, moved**2)
    translation = target_centre - scale[:, None] * np.einsum("nij,nj->ni", rotation, source_centre)
    return Similarity(scale, rotation, translation)


def nearest_rotation(matrix: NDArray) -> NDArray:
    """The rotation nearest to a 3 x 3 matrix."""
    u, _, vt = np.linalg.svd(matrix)
    return u @ np.diag([1, 1, np.sign(np.linalg.det(u @ vt))]) @ vt
