"""The reference's skin on the target's mesh: what a head looks like, carried over to where it is to be.

I_3d says where every point of the face is, the identity tokens say whose face it is; a network with the paper's
training learns from these two how the person's skin, brows and lips look. The skin says it outright: a point of the
mesh takes the colour that it has in the reference photo. The mesh ends at hairline and jaw; a band around it, drawn
out from its rim, carries along what is there: hair, ears, the neck. It is no part of the paper, and ID-Ctrl can be
built without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn import functional

from diffpc.face3d.crop import crop_to_frame_ndc
from diffpc.face3d.framing import Square, cut
from diffpc.face3d.model import FaceModel
from diffpc.face3d.predict import photo_points
from diffpc.face3d.render import interpolate, rasterise, vertex_normals
from diffpc.faces.align import transform_points
from diffpc.types import FaceParams, Image

SIDE = 256
"""Of the square that is kept of a reference, in pixels."""

BAND = 1.75
"""How far from the face's middle the band ends, in distances of the rim."""

MARGIN = 1.9
"""Side of that square, in sides of the face's box: the band and a little more."""

SEEN = (0.1, 0.3)
"""Cosine between surface and camera in the reference: skin seen flatter than the first is unknown, steeper than the
second known."""

TURNED = (0.35, 0.2)
"""What the band's facing is more than its rim's, within and without: a rim is seen flat, the hair beside it is not.
Beside a face that is turned away it is hidden all the same."""

OPENED = (0.006, 0.016)
"""How much larger a hole of the mesh is than in the reference, in areas of the face: a mouth that opens less is drawn
with the lips it has, one that opens more shows teeth that the reference does not. Eyes never open so far."""

UNKNOWN = 0.5
"""Gray where no skin is known."""


@dataclass(frozen=True)
class Skin:
    """A face in a photo, and where its mesh lies in it."""

    picture: UInt8[np.ndarray, "S S 3"]
    """RGB, upright, the face fills it."""
    points: Float[Tensor, "V 2"]
    """The vertices in pixels of the picture."""
    facing: Float[Tensor, " V"]
    """Cosine between each vertex's normal and the direction to the camera."""


@dataclass(frozen=True)
class _Surface:
    """A mesh whose eyes and mouth are closed by fans, and the band around it.

    Its vertices are the mesh's V; the middle of each hole; the rim of the face, R, again; and the band's outer rim.
    """

    triangles: Int[Tensor, "F 3"]
    holes: tuple[tuple[int, ...], ...]
    """Their rims."""
    rim: tuple[int, ...]
    """The face's own; empty where a mesh has none."""

    def extended(self, values: Float[Tensor, "B V D"]) -> Float[Tensor, "B W D"]:
        """Places at the V vertices and then at all others: what is linear in a vertex's place."""
        rim, middle = values[:, list(self.rim)], values.mean(1, keepdim=True)
        return torch.cat([values, *self._middles(values), rim, middle + BAND * (rim - middle)], dim=1)

    def facing(self, values: Float[Tensor, "B V"], opened: Float[Tensor, " H"]) -> Float[Tensor, "B W"]:
        """The same of `Skin.facing`, less in the middle of holes that have opened."""
        middles = [
            one[..., 0] - 2 * share
            for one, share in zip(self._middles(values[..., None]), opened, strict=True)
        ]
        return torch.cat([values, *middles, *(values[:, list(self.rim)] + more for more in TURNED)], dim=1)

    def opened(self, before: Float[Tensor, "V 2"], after: Float[Tensor, "V 2"]) -> Float[Tensor, " H"]:
        """How far each hole has opened: 0 no farther than skin stretches, 1 so that other things are seen."""
        grown = self._shares(after) - self._shares(before)
        return ((grown - OPENED[0]) / (OPENED[1] - OPENED[0])).clamp(0, 1)

    def _shares(self, points: Float[Tensor, "V 2"]) -> Float[Tensor, " H"]:
        """Areas of the holes, in areas of the face."""
        areas = torch.tensor([float(_area(points[list(hole)])) for hole in self.holes])
        return areas / _area(points[list(self.rim)]).clamp_min(1e-6)

    def _middles(self, values: Float[Tensor, "B V D"]) -> list[Float[Tensor, "B 1 D"]]:
        return [values[:, list(hole)].mean(1, keepdim=True) for hole in self.holes]


def peel(image: Image, params: FaceParams, model: FaceModel, side: int = SIDE) -> Skin:
    """The skin of the face that `params` were read from.

    Args:
        image: the photo.
        params: its 3D face, on the photo's frame.
        model: the face model that `params` belong to.
        side: of the picture, in pixels.
    """
    points = photo_points(params, model)
    low, high = points.min(axis=0), points.max(axis=0)
    size = MARGIN * float((high - low).max())
    x, y = ((low + high) / 2).tolist()
    square = Square((x, y), size, roll=0.0, resolution=side)
    with torch.no_grad():
        normals = vertex_normals(model.vertices(params).world, model.triangles)[0]
    placed = transform_points(points, square.matrix())
    return Skin(_cut(image, square), torch.from_numpy(placed).float(), normals[:, 2].clone())


def _cut(image: Image, square: Square) -> Image:
    """The square, gray where it reaches beyond the photo."""
    inside = cut(np.full_like(image, 255), square) / 255
    return np.where(inside < 1, 255 * UNKNOWN, cut(image, square)).round().astype(np.uint8)


@torch.no_grad()
def dressed(
    skin: Skin,
    params: FaceParams,
    model: FaceModel,
    height: int,
    width: int,
    view: tuple[float, float, float, float] | None = None,
) -> Float[Tensor, "{height} {width} 3"]:
    """I_skin: the skin on the face that `params` place, RGB in [0, 1]; gray where none is or none is known.

    Args:
        skin: from `peel`, of the same face model.
        params: where each point of the face is to be; see `predict.condition`.
        model: the face model.
        height: of the picture.
        width: of the picture.
        view: as in `predict.render_condition`, whose render lies on the same pixels.
    """
    surface = _surface(model)
    placed = crop_to_frame_ndc(params.crop, params.frame, view).apply(model.vertices(params).projected)
    fragments = rasterise(surface.extended(placed), surface.triangles, height, width)
    opened = surface.opened(skin.points, placed[0, :, :2])
    facing = surface.facing(skin.facing[None], opened)
    source = torch.cat([surface.extended(skin.points[None]), facing[..., None]], dim=2)
    found = interpolate(source, surface.triangles, fragments)[0]
    known = ((found[..., 2] - SEEN[0]) / (SEEN[1] - SEEN[0])).clamp(0, 1) * (fragments.face_index[0] >= 0)
    inside = ((found[..., :2] >= 0) & (found[..., :2] <= skin.picture.shape[0] - 1)).all(-1)
    known, colours = known * inside, _sampled(skin.picture, found[..., :2])
    return UNKNOWN + known[..., None] * (colours - UNKNOWN)


def _sampled(picture: UInt8[np.ndarray, "S S 3"], points: Float[Tensor, "H W 2"]) -> Float[Tensor, "H W 3"]:
    """Bilinear, in [0, 1]; beyond the border the border."""
    side = torch.tensor([picture.shape[1], picture.shape[0]])
    grid = (2 * points + 1) / side - 1
    pixels = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
    sampled = functional.grid_sample(pixels, grid[None], padding_mode="border", align_corners=False)
    return sampled[0].permute(1, 2, 0)


def _area(points: Float[Tensor, "N 2"]) -> Float[Tensor, ""]:
    """Of a polygon, whichever way round."""
    following = points.roll(-1, 0)
    return 0.5 * (points[:, 0] * following[:, 1] - points[:, 1] * following[:, 0]).sum().abs()


def _surface(model: FaceModel) -> _Surface:
    return _closed(tuple(map(tuple, model.triangles.tolist())))


@lru_cache(maxsize=4)
def _closed(triangles: tuple[tuple[int, int, int], ...]) -> _Surface:
    """Every border but the longest, the face's own, is closed: lids and lips have skin behind their rims too."""
    borders = sorted(_borders(triangles), key=len)
    holes, rim = borders[:-1], borders[-1] if borders else ()
    count = 1 + max(max(corners) for corners in triangles)
    fans = [
        (hole[place], hole[(place + 1) % len(hole)], count + number)
        for number, hole in enumerate(holes)
        for place in range(len(hole))
    ]
    inner, outer = count + len(holes), count + len(holes) + len(rim)
    band = [
        corners
        for place in range(len(rim))
        for here, there in ((place, (place + 1) % len(rim)),)
        for corners in (
            (inner + here, inner + there, outer + here),
            (inner + there, outer + there, outer + here),
        )
    ]
    return _Surface(torch.tensor([*triangles, *fans, *band]), tuple(holes), rim)


def _borders(triangles: tuple[tuple[int, int, int], ...]) -> list[tuple[int, ...]]:
    """The loops of edges that have one triangle only, each against its triangles' sense."""
    edges = {(corners[place], corners[(place + 1) % 3]) for corners in triangles for place in range(3)}
    after = {end: start for start, end in edges if (end, start) not in edges}
    loops: list[tuple[int, ...]] = []
    while after:
        loop = [next(iter(after))]
        # The default: where two holes touch, a loop may miss an edge that the other has used.
        while (following := after.pop(loop[-1], loop[0])) != loop[0]:
            loop.append(following)
        loops.append(tuple(loop))
    return loops
