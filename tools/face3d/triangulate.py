"""Our own triangulation of the 468 points, with holes where the eyes and the mouth open.

One half of the mean face is triangulated (Delaunay) in an unrolled view and mirrored: the mesh is symmetric.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Delaunay

IMAGE_LEFT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
"""Rim of the eye opening, in order."""
INNER_LIPS = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)
"""Rim of the mouth opening, in order."""
OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148,
    176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
"""Rim of the face, in order."""
VIEW_PITCH = np.radians(-12)
"""Seen from a little below, the underside of the nose is not hidden by its tip."""


def triangulate(vertices: NDArray, mirror: NDArray) -> NDArray[np.int64]:
    """(V, 3) a symmetric face with eyes and mouth open -> (F, 3), counter-clockwise to the viewer (y up)."""
    plane = _unroll(vertices)
    middle = mirror == np.arange(len(mirror))
    half = np.flatnonzero(middle | (vertices[:, 0] < 0))
    found = half[Delaunay(plane[half]).simplices]
    found = found[~middle[found].all(1)]  # rounding makes slivers along the straight middle line
    centres = plane[found].mean(1)
    keep = _inside(plane[list(OVAL)], centres)
    keep &= ~_inside(plane[list(IMAGE_LEFT_EYE)], centres) & ~_inside(plane[list(INNER_LIPS)], centres)
    left = _counter_clockwise(found[keep], plane)
    right = mirror[left][:, ::-1]
    return np.concatenate([left, right]).astype(np.int64)


def rim_edges(triangles: NDArray) -> set[tuple[int, int]]:
    """Edges that only one triangle has, each as (smaller, larger)."""
    edges = np.sort(
        np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1
    )
    unique, count = np.unique(edges, axis=0, return_counts=True)
    return {(int(a), int(b)) for a, b in unique[count == 1]}


def _unroll(vertices: NDArray) -> NDArray:
    """(V, 3) -> (V, 2): the angle about a vertical axis behind the face, and the height, in a tilted view."""
    cos, sin = np.cos(VIEW_PITCH), np.sin(VIEW_PITCH)
    y = cos * vertices[:, 1] - sin * vertices[:, 2]
    z = sin * vertices[:, 1] + cos * vertices[:, 2]
    depth = z - z.min() + 0.6
    return np.stack([np.arctan2(vertices[:, 0], depth), y], 1)


def _inside(polygon: NDArray, points: NDArray) -> NDArray[np.bool_]:
    """Even-odd rule: polygon (K, 2), points (N, 2) -> (N,)."""
    start, end = polygon, np.roll(polygon, -1, axis=0)
    above = (start[:, 1] > points[:, 1, None]) != (end[:, 1] > points[:, 1, None])
    rise = np.where(end[:, 1] == start[:, 1], 1, end[:, 1] - start[:, 1])
    crossing = start[:, 0] + (points[:, 1, None] - start[:, 1]) * (end[:, 0] - start[:, 0]) / rise
    return (above & (points[:, 0, None] < crossing)).sum(1) % 2 == 1


def _counter_clockwise(triangles: NDArray, plane: NDArray) -> NDArray:
    a, b, c = (plane[triangles[:, k]] for k in range(3))
    area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    return np.where(area[:, None] < 0, triangles[:, ::-1], triangles)
