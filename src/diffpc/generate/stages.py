"""Pictures of what each stage saw, for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from diffpc.face3d.model import FaceModel
from diffpc.face3d.predict import photo_points
from diffpc.images import cover_crop, resize
from diffpc.pipeline import Control
from diffpc.types import Face, Image

CANVAS = 512
"""Height in pixels of the mesh's picture, and the least height of the strip."""

GREY = 128
"""Where the canvas shows no photo."""

HEADROOM = 2.4
"""Side of the reference's part in the strip, in sides of the face's box."""

_MARK = (40, 220, 90)


@dataclass(frozen=True)
class Seen:
    """A photo and the face that was chosen in it."""

    image: Image
    face: Face


def marked(seen: Seen) -> Image:
    """The photo with the face's box and landmarks drawn on it."""
    picture = np.ascontiguousarray(seen.image).copy()
    width = max(1, round(max(picture.shape[:2]) / 256))
    x0, y0, x1, y1 = (round(value) for value in seen.face.box)
    cv2.rectangle(picture, (x0, y0), (x1, y1), _MARK, width, cv2.LINE_AA)
    for x, y in seen.face.landmarks:
        cv2.circle(picture, (round(float(x)), round(float(y))), 2 * width, _MARK, -1, cv2.LINE_AA)
    return picture


def mesh(control: Control, model: FaceModel, photo: Image | None) -> Image:
    """The wire frame of the conditioning face on the portrait's canvas, over `photo` if it is of one."""
    height, width = control.i_3d.shape
    scale = CANVAS / height
    size = (round(width * scale), CANVAS)
    left, top, wide, _ = control.view
    zoom = size[0] / wide
    move = np.array([[zoom, 0.0, -left * zoom], [0.0, zoom, -top * zoom]])
    picture = np.full((size[1], size[0], 3), GREY, np.uint8)
    if photo is not None:
        picture = cv2.warpAffine(photo, move, size, flags=cv2.INTER_LINEAR, borderValue=(GREY,) * 3)
    points = (photo_points(control.params, model) - (left, top)) * zoom
    corners = points[model.triangles.numpy()]
    edges = corners[_towards_the_viewer(corners)]
    # cv2 takes fixed-point coordinates: 4 binary digits after the point.
    lines = [np.rint(triangle * 16).astype(np.int32) for triangle in edges]
    cv2.polylines(picture, lines, True, _MARK, 1, cv2.LINE_AA, 4)
    return np.asarray(picture, np.uint8)


def strip(reference: Image, control: Control, portraits: Sequence[Image]) -> Image:
    """reference | I_3d | I_skin, if the model is told it | portraits at equal height."""
    height, width = portraits[0].shape[:2]
    tall = max(CANVAS, height)
    wide = round(width * tall / height)
    photo = cover_crop(reference, wide, tall)
    skin = control.skin_picture()
    others = [control.picture(), *([] if skin is None else [skin]), *portraits]
    return np.concatenate([photo, *(resize(picture, wide, tall) for picture in others)], axis=1)


def around(seen: Seen) -> Image:
    """The photo around head and shoulders: the face in the middle, as far as the photo reaches."""
    rows, columns = seen.image.shape[:2]
    x0, y0, x1, y1 = seen.face.box
    side = min(rows, columns, round(HEADROOM * max(x1 - x0, y1 - y0)))
    left = min(max(round((x0 + x1 - side) / 2), 0), columns - side)
    top = min(max(round((y0 + y1 - side) / 2), 0), rows - side)
    return seen.image[top : top + side, left : left + side]


def _towards_the_viewer(corners: np.ndarray) -> np.ndarray:
    """Which triangles (F, 3, 2), counter-clockwise from outside, show their front; y points down."""
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0] < 0
