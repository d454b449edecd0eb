"""The live 3D face: what the portrait will be asked to do, drawn on its canvas."""

from __future__ import annotations

import math
from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8

from diffpc.face3d.model import FaceModel
from diffpc.face3d.predict import photo_points, render_condition
from diffpc.framing import View
from diffpc.types import FaceParams, Image

HEIGHT = 416
"""Pixels; the page shows the canvas about as tall."""

_PAPER = ((236, 233, 227), (208, 204, 198))
"""The empty canvas: colour in the middle and in the corners."""

_CLAY = ((52, 44, 82), (150, 132, 190), (250, 243, 236))
"""The face: colour of its darkest, middle and brightest surface."""

_LINES = (255, 255, 255)
_FADED = 0.55
"""How much of the photo below is left, so that the face stands out."""

_ROOM = 2
"""Pixels around the face that its soft edge may reach."""

_COARSE = 2
"""Pixels of the canvas to one of the render, on each side: it is most of a frame, and shades a smooth surface. Edges
and lines are drawn on the canvas' own pixels."""

_FINE = 4
"""Binary digits after the point of the coordinates that cv2 draws with."""


def drawn(params: FaceParams, model: FaceModel, view: View, photo: Image | None = None) -> Image:
    """The face in its view, shaded and meshed, HEIGHT pixels tall.

    Only the face's own part of the canvas is rendered: a frame is wanted while a slider is dragged.

    Args:
        params: (alpha_ref, beta_tgt, gamma_tgt).
        model: the face model that `params` belong to.
        view: the part of the frame that the portrait shows, from `framing.framed`.
        photo: the photo of that frame, shown below; None is an empty canvas.
    """
    zoom = HEIGHT / view[3]
    width = round(HEIGHT * view[2] / view[3])
    picture = paper(width).copy() if photo is None else _faded(photo, view, width)
    points = (photo_points(params, model) - view[:2]) * zoom
    left, top, right, bottom = _box(points, width)
    if left >= right or top >= bottom:
        return picture
    wide, high = right - left, bottom - top
    part = (view[0] + left / zoom, view[1] + top / zoom, wide / zoom, high / zoom)
    coarse = render_condition(params, model, math.ceil(high / _COARSE), math.ceil(wide / _COARSE), part)
    meshed = _clay(_enlarged(coarse.numpy(), (wide, high)))
    corners = (points - (left, top))[model.triangles.numpy()]
    _draw_mesh(meshed, corners)
    cover = _cover(corners, (wide, high))
    below = picture[top:bottom, left:right]
    below[:] = cv2.blendLinear(meshed, below, cover, 1 - cover)
    return picture


@lru_cache(maxsize=8)
def paper(width: int) -> UInt8[np.ndarray, "416 W 3"]:
    """An empty canvas, brighter in the middle."""
    rows, columns = np.linspace(-1, 1, HEIGHT)[:, None], np.linspace(-1, 1, width)[None]
    away = np.clip((rows**2 + columns**2) / 2, 0, 1)[..., None]
    middle, corner = (np.array(colour, np.float32) for colour in _PAPER)
    return np.rint(middle + away * (corner - middle)).astype(np.uint8)


def jpeg(picture: Image) -> bytes:
    """A small file for the way to the browser, not for keeping."""
    return cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()


def _box(points: Float[np.ndarray, "V 2"], width: int) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the points' part of the canvas, with room for soft edges."""
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    return (
        max(0, math.floor(left) - _ROOM),
        max(0, math.floor(top) - _ROOM),
        min(width, math.ceil(right) + _ROOM),
        min(HEIGHT, math.ceil(bottom) + _ROOM),
    )


def _faded(photo: Image, view: View, width: int) -> Image:
    zoom = HEIGHT / view[3]
    move = np.array([[zoom, 0.0, -view[0] * zoom], [0.0, zoom, -view[1] * zoom]])
    seen = cv2.warpAffine(photo, move, (width, HEIGHT), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
    return cv2.addWeighted(seen, _FADED, np.full_like(seen, _PAPER[0]), 1 - _FADED, 0)


def _enlarged(grey: Float[np.ndarray, "h w"], size: tuple[int, int]) -> Float[np.ndarray, "H W"]:
    """The render on the canvas' pixels; beyond its edge goes on what is beside it, for edges are cut out later."""
    seen = (grey > 0).astype(np.float32)
    beside = cv2.blur(grey, (5, 5)) / np.maximum(cv2.blur(seen, (5, 5)), 1e-6)
    return cv2.resize(np.where(grey > 0, grey, beside), size, interpolation=cv2.INTER_LINEAR)


def _cover(corners: Float[np.ndarray, "F 3 2"], size: tuple[int, int]) -> Float[np.ndarray, "H W"]:
    """How much of each pixel the triangles hide, 0 to 1; edges are one pixel soft, enough for the eye."""
    mask = np.zeros(size[::-1], np.float32)
    for corner in _drawable(corners):
        cv2.fillConvexPoly(mask, corner, 1.0, cv2.LINE_8, _FINE)
    return cv2.GaussianBlur(mask, (3, 3), 0)


def _drawable(corners: Float[np.ndarray, "F 3 2"]) -> Int[np.ndarray, "F 3 2"]:
    """As cv2 takes them: in fixed point."""
    return np.rint(corners * 2**_FINE).astype(np.int32)


def _clay(grey: Float[np.ndarray, "H W"]) -> Image:
    """Brightness in [0, 1] -> the clay's colours."""
    return cv2.applyColorMap(cv2.convertScaleAbs(grey, alpha=255), _clay_colours())


@lru_cache(maxsize=1)
def _clay_colours() -> UInt8[np.ndarray, "256 1 3"]:
    """Of each brightness."""
    scale = np.linspace(0, 1, 256)
    channels = [np.interp(scale, (0.25, 0.6, 0.85), channel) for channel in zip(*_CLAY, strict=True)]
    return np.stack(channels, 1).astype(np.uint8)[:, None]


def _draw_mesh(picture: Image, corners: Float[np.ndarray, "F 3 2"]) -> None:
    """The edges of the triangles that show their front, faintly; corners in the picture's pixels."""
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    # Counter-clockwise from outside, and y points down.
    front = corners[first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0] < 0]
    lines = picture.copy()
    cv2.polylines(lines, list(_drawable(front)), True, _LINES, 1, cv2.LINE_AA, _FINE)
    cv2.addWeighted(lines, 0.28, picture, 0.72, 0, dst=picture)
