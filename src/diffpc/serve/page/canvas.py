"""The live 3D face: what the portrait will be asked to do, drawn on its canvas."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Float

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


def drawn(params: FaceParams, model: FaceModel, view: View, photo: Image | None = None) -> Image:
    """The face in its view, shaded and meshed, HEIGHT pixels tall.

    Args:
        params: (alpha_ref, beta_tgt, gamma_tgt).
        model: the face model that `params` belong to.
        view: the part of the frame that the portrait shows, from `framing.framed`.
        photo: the photo of that frame, shown below; None is an empty canvas.
    """
    width = round(HEIGHT * view[2] / view[3])
    grey = render_condition(params, model, HEIGHT, width, view).numpy()
    below = paper(width) if photo is None else _faded(photo, view, width)
    meshed = _clay(grey)
    _draw_mesh(meshed, photo_points(params, model), model.triangles.numpy(), view)
    # The render has hard edges: one pixel of softness is enough for the eye.
    cover = cv2.GaussianBlur((grey > 0).astype(np.float32), (3, 3), 0)[..., None]
    return np.rint(below + cover * (meshed.astype(np.float32) - below)).astype(np.uint8)


@lru_cache(maxsize=8)
def paper(width: int) -> Float[np.ndarray, "416 W 3"]:
    """An empty canvas, brighter in the middle; 0 to 255."""
    rows, columns = np.linspace(-1, 1, HEIGHT)[:, None], np.linspace(-1, 1, width)[None]
    away = np.clip((rows**2 + columns**2) / 2, 0, 1)[..., None]
    middle, corner = (np.array(colour, np.float32) for colour in _PAPER)
    return (middle + away * (corner - middle)).astype(np.float32)


def jpeg(picture: Image) -> bytes:
    """A small file for the way to the browser, not for keeping."""
    return cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()


def _faded(photo: Image, view: View, width: int) -> Float[np.ndarray, "416 W 3"]:
    zoom = HEIGHT / view[3]
    move = np.array([[zoom, 0.0, -view[0] * zoom], [0.0, zoom, -view[1] * zoom]])
    seen = cv2.warpAffine(photo, move, (width, HEIGHT), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)
    return _FADED * seen.astype(np.float32) + (1 - _FADED) * np.array(_PAPER[0], np.float32)


def _clay(grey: Float[np.ndarray, "H W"]) -> Image:
    """Brightness in [0, 1] -> the clay's colours."""
    scale = np.linspace(0, 1, 256)
    table = np.stack(
        [np.interp(scale, (0.25, 0.6, 0.85), channel) for channel in zip(*_CLAY, strict=True)], 1
    )
    return table.astype(np.uint8)[np.rint(np.clip(grey, 0, 1) * 255).astype(np.uint8)]


def _draw_mesh(picture: Image, points: Float[np.ndarray, "V 2"], triangles: np.ndarray, view: View) -> None:
    """The edges of the triangles that show their front, faintly."""
    corners = ((points - view[:2]) * (HEIGHT / view[3]))[triangles]
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    # Counter-clockwise from outside, and y points down.
    front = corners[first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0] < 0]
    lines = picture.copy()
    # cv2 takes fixed-point coordinates: 4 binary digits after the point.
    cv2.polylines(lines, list(np.rint(front * 16).astype(np.int32)), True, _LINES, 1, cv2.LINE_AA, 4)
    cv2.addWeighted(lines, 0.28, picture, 0.72, 0, dst=picture)
