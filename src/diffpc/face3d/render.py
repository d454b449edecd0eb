"""Vertices -> I_3d (R_3d of Eq. 7): a z-buffer in plain torch and SMIRK's shading.

The rasteriser follows PyTorch3D's conventions (0.7.9, `rasterize_meshes`, one face per pixel, no blur), with
x and y negated: pixel i of a side of S has its centre at -1 + (2i + 1) / S; of a non-square picture the short
side spans [-1, 1]; both sides of a face are seen; a pixel belongs to a face only where all three barycentrics
are strictly positive; the smallest z wins, and of equal ones the lowest face index.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

MIN_DOUBLE_AREA = 1e-8
"""Faces whose doubled area in the image plane is not above this are skipped; also added to the area."""

MIN_DEPTH = 1e-8
"""Faces with a vertex nearer than this (at or behind the camera) are skipped."""

ALBEDO = 180 / 255
LIGHT_INTENSITY = 1.7
LIGHT_DIRECTIONS = ((-1.0, 1.0, 1.0), (1.0, 1.0, 1.0), (-1.0, -1.0, 1.0), (1.0, -1.0, 1.0), (0.0, 0.0, 1.0))
"""Towards the lights, before normalisation; world frame, y up, z towards the camera."""

_CANDIDATES_PER_CHUNK = 1 << 20
"""(face, pixel) pairs tested at once: bounds the memory to some 100 MB whatever the mesh."""

_EMPTY = torch.iinfo(torch.int64).max


@dataclass(frozen=True)
class Fragments:
    """What each pixel sees of the mesh."""

    face_index: Int[Tensor, "B H W"]
    """int64, row of `faces`; -1 where no face is seen."""
    barycentric: Float[Tensor, "B H W 3"]
    """Weights of the face's corners, affine in the image plane; 0 where no face is seen."""
    depth: Float[Tensor, "B H W"]
    """z, interpolated; -1 where no face is seen."""


def render(
    vertices: Float[Tensor, "B V 3"],
    faces: Int[Tensor, "F 3"],
    height: int,
    width: int,
    world: Float[Tensor, "B V 3"] | None = None,
) -> Float[Tensor, "B {height} {width}"]:
    """The paper's monochrome I_3d: in [0, 1] (frontal surfaces: 0.794), background 0, without antialiasing.

    vertices: as in `rasterise`. world: the same vertices before projection (y up, z towards the camera), from
    which the normals are computed; without them the projection's flips of y and z are undone instead, which
    gives the same normals up to rounding, as a weak-perspective camera keeps angles.
    """
    if world is None:
        world = vertices * vertices.new_tensor([1.0, -1.0, -1.0])
    fragments = rasterise(vertices, faces, height, width)
    return shade(interpolate(vertex_normals(world, faces), faces, fragments))


def rasterise(
    vertices: Float[Tensor, "B V 3"], faces: Int[Tensor, "F 3"], height: int, width: int
) -> Fragments:
    """The nearest face at each pixel's centre.

    vertices: x right, y down, the short side of the picture spans [-1, 1]; z > 0 grows away from the camera.
    faces: rows of `vertices`, shared by the batch. Not differentiable; works in float32.
    """
    with torch.no_grad():
        corners = vertices.float()[:, faces.long()]  # (B, F, 3, 3)
        n_images, n_faces = corners.shape[:2]
        triangles = _Triangles.of(corners.reshape(-1, 3, 3))
        short = min(height, width)
        centre_x = _pixel_centres(width, short, corners)
        centre_y = _pixel_centres(height, short, corners)
        nearest = torch.full((n_images * height * width,), _EMPTY, dtype=torch.int64, device=corners.device)
        for triangle, row, column in _candidates(triangles, centre_x, centre_y):
            weights = triangles.barycentric(
                triangle, centre_x.index_select(0, column), centre_y.index_select(0, row)
            )
            inside = ((weights[0] > 0) & (weights[1] > 0) & (weights[2] > 0)).nonzero().squeeze(1)
            triangle, row, column = (index.index_select(0, inside) for index in (triangle, row, column))
            depth = triangles.depth(triangle, tuple(weight.index_select(0, inside) for weight in weights))
            image = triangle // max(n_faces, 1)
            # Positive floats sort like their bits: one integer minimum settles depth, then the face index.
            key = (depth.view(torch.int32).long() << 32) | (triangle - image * n_faces)
            nearest.scatter_reduce_(0, (image * height + row) * width + column, key, "amin")
        return _fragments(nearest.view(n_images, height, width), triangles, centre_x, centre_y)


def vertex_normals(vertices: Float[Tensor, "B V 3"], faces: Int[Tensor, "F 3"]) -> Float[Tensor, "B V 3"]:
    """Unit normals, each the mean of its faces' weighted by their area; 0 for a vertex without faces."""
    faces = faces.long()
    corners = vertices[:, faces]
    face_normals = torch.linalg.cross(
        corners[:, :, 1] - corners[:, :, 0], corners[:, :, 2] - corners[:, :, 0]
    )
    sums = torch.zeros_like(vertices)
    for corner in range(3):
        sums = sums.index_add(1, faces[:, corner], face_normals)
    return functional.normalize(sums, dim=-1, eps=1e-6)


def interpolate(
    attributes: Float[Tensor, "B V D"], faces: Int[Tensor, "F 3"], fragments: Fragments
) -> Float[Tensor, "B H W D"]:
    """Values given at the vertices, at each pixel; 0 where no face is seen."""
    n_images, n_vertices, width = attributes.shape
    face_index = fragments.face_index.flatten()
    seen = (face_index >= 0).nonzero().squeeze(1)
    image = seen // max(face_index.numel() // max(n_images, 1), 1)
    corners = faces.long().index_select(0, face_index.index_select(0, seen)) + n_vertices * image[:, None]
    values = attributes.reshape(-1, width).index_select(0, corners.flatten()).view(-1, 3, width)
    weights = fragments.barycentric.reshape(-1, 1, 3).index_select(0, seen).to(values)
    pixels = values.new_zeros((face_index.numel(), width))
    pixels = pixels.index_copy(0, seen, torch.bmm(weights, values).squeeze(1))
    return pixels.view(*fragments.face_index.shape, width)


def shade(normals: Float[Tensor, "B H W 3"]) -> Float[Tensor, "B H W"]:
    """SMIRK's five white directional lights on a gray surface; in [0, 0.794], 0 where the normal is 0.

    normals: world frame, y up, z towards the camera; not renormalised after interpolation.
    """
    lights = functional.normalize(normals.new_tensor(LIGHT_DIRECTIONS), dim=-1)
    incident = (normals @ lights.T).clamp(0.0, 1.0)
    return ALBEDO * LIGHT_INTENSITY * incident.mean(-1)


@dataclass(frozen=True)
class _Triangles:
    """The faces of all images of a batch in one list of T = B * F, in rows that are fast to gather from."""

    x: Tensor
    """(3, T)"""
    y: Tensor
    z: Tensor
    area: Tensor
    """(T,), doubled and signed."""

    @staticmethod
    def of(corners: Tensor) -> _Triangles:
        """corners: (T, 3 corners, xyz)."""
        x, y, z = corners.permute(2, 1, 0).contiguous()
        return _Triangles(x, y, z, (x[2] - x[0]) * (y[1] - y[0]) - (y[2] - y[0]) * (x[1] - x[0]))

    def visible(self) -> Tensor:
        """(T,) bool: neither seen edge-on nor, even in part, at or behind the camera."""
        return (self.area.abs() > MIN_DOUBLE_AREA) & (self.z.amin(0) >= MIN_DEPTH)

    def barycentric(self, triangle: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Weights of the three corners at the points (x, y), each (N,); PyTorch3D's order of operations."""
        area = (self.area + MIN_DOUBLE_AREA).index_select(0, triangle)

        def weight(start: int, end: int) -> Tensor:
            run = (self.x[end] - self.x[start]).index_select(0, triangle)
            rise = (self.y[end] - self.y[start]).index_select(0, triangle)
            from_x = x - self.x[start].index_select(0, triangle)
            from_y = y - self.y[start].index_select(0, triangle)
            return (from_x * rise - from_y * run) / area

        return weight(1, 2), weight(2, 0), weight(0, 1)

    def depth(self, triangle: Tensor, weights: tuple[Tensor, ...]) -> Tensor:
        """z at the points with these weights, (N,)."""
        z = [row.index_select(0, triangle) for row in self.z]
        return weights[0] * z[0] + weights[1] * z[1] + weights[2] * z[2]


def _pixel_centres(side: int, short: int, like: Tensor) -> Tensor:
    span = 2.0 * side / short
    index = torch.arange(side, dtype=torch.float32, device=like.device)
    return (span * index + span / 2) / side - span / 2


def _candidates(
    triangles: _Triangles, centre_x: Tensor, centre_y: Tensor
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """(triangle, row, column) for each pixel centre within each triangle's bounding box, in chunks.

    Searching among the centres themselves is exact, and what is not a number sorts behind all of them.
    """
    left, columns = _box(triangles.x, centre_x)
    top, rows = _box(triangles.y, centre_y)
    counts = columns * rows * triangles.visible()
    ends = counts.cumsum(0)
    for first, last, total in _chunks(ends):
        chunk = counts[first:last]
        local = torch.repeat_interleave(chunk, output_size=total)
        triangle = first + local
        starts = ends[first:last] - chunk - (ends[first] - chunk[0])
        offset = torch.arange(total, device=local.device) - starts.index_select(0, local)
        box_width = columns.index_select(0, triangle)
        row = torch.div(offset, box_width, rounding_mode="floor")
        column = offset - row * box_width
        yield triangle, row + top.index_select(0, triangle), column + left.index_select(0, triangle)


def _box(coordinates: Tensor, centres: Tensor) -> tuple[Tensor, Tensor]:
    """First pixel and number of pixels whose centres lie between the corners of each triangle, (T,) each."""
    first = torch.searchsorted(centres, coordinates.amin(0))
    end = torch.searchsorted(centres, coordinates.amax(0), right=True)
    return first, (end - first).clamp(min=0)


def _chunks(ends: Tensor) -> Iterator[tuple[int, int, int]]:
    """(first triangle, last + 1, candidates): runs of at most _CANDIDATES_PER_CHUNK and a triangle."""
    total = int(ends[-1]) if len(ends) else 0
    if total == 0:
        return
    n_marks = (total - 1) // _CANDIDATES_PER_CHUNK
    marks = torch.arange(1, n_marks + 1, device=ends.device) * _CANDIDATES_PER_CHUNK
    cuts = torch.unique(torch.searchsorted(ends, marks)) + 1
    bounds = [0, *cuts.tolist(), len(ends)]
    totals = [0, *ends[cuts - 1].tolist(), total]
    for index in range(len(bounds) - 1):
        count = totals[index + 1] - totals[index]
        if count:
            yield bounds[index], bounds[index + 1], count


def _fragments(nearest: Tensor, triangles: _Triangles, centre_x: Tensor, centre_y: Tensor) -> Fragments:
    """Reads the winners (B, H, W) back; their weights are computed anew rather than kept for all."""
    seen = nearest != _EMPTY
    face_index = torch.where(seen, nearest & 0xFFFFFFFF, -1)
    image, row, column = seen.nonzero(as_tuple=True)
    n_faces = triangles.area.shape[0] // max(nearest.shape[0], 1)
    triangle = face_index[image, row, column] + image * n_faces
    weights = triangles.barycentric(triangle, centre_x[column], centre_y[row])
    barycentric = triangles.z.new_zeros((*nearest.shape, 3))
    barycentric[image, row, column] = torch.stack(weights, dim=-1)
    depth = triangles.z.new_full(nearest.shape, -1.0)
    depth[image, row, column] = triangles.depth(triangle, weights)
    return Fragments(face_index, barycentric, depth)
