"""The second pass over a small face: where it looks, and how what it draws goes back into the picture.

A latent pixel of SDXL's layout is 8 x 8 pixels of the picture: a face of 100 pixels has 12 x 12 of them for eyes, nose
and mouth. So the square around the face is enlarged to the model's own size, drawn again from part of the noise
under the same 3D face, and blended back.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float

from diffpc.face3d.model import FaceModel
from diffpc.face3d.predict import photo_points
from diffpc.framing import View
from diffpc.settings import Framing
from diffpc.types import FaceParams, Image

SMALL = 0.35
"""Brow to chin in sides of the pictures that the model was trained on; a smaller face is drawn again by itself."""

WANTED = 0.5
"""Height of the face in the square, where the model's framing allows it."""

NOISE = 0.7
"""Share of the steps that the second pass runs."""

MARGIN = 0.06
"""How far the mask reaches beyond the rendered face, and how softly it ends, in sides of the square."""


@dataclass(frozen=True)
class Region:
    """A square of the canvas, in whole pixels; it may reach beyond the canvas."""

    left: int
    top: int
    side: int
    view: View
    """The same square in the target's frame."""


def face_box(
    params: FaceParams, model: FaceModel, view: View, size: tuple[int, int]
) -> Float[np.ndarray, "4"]:
    """Left, top, right, bottom of the 3D face on the canvas of (width, height), in pixels from its edges."""
    points = photo_points(params, model)
    # The centre of the canvas's first pixel shows the view's first pixel, so the edges lie half a pixel before.
    edges = (points + 0.5 - np.array(view[:2])) * (size[0] / view[2])
    return np.concatenate([edges.min(axis=0), edges.max(axis=0)])


def is_small(box: Float[np.ndarray, "4"], size: tuple[int, int], native: int) -> bool:
    """Whether a face is too small to be drawn in one pass.

    Args:
        box: from `face_box`.
        size: width, height of the canvas; a small canvas has small faces, which is as it was asked for.
        native: side of the pictures in training, pixels.
    """
    return float(box[3] - box[1]) < SMALL * min(native, *size)


def region_of(box: Float[np.ndarray, "4"], view: View, size: tuple[int, int], framing: Framing) -> Region:
    """The square in which the face has a size and place that the model has seen.

    Args:
        box: from `face_box`.
        view: of the canvas.
        size: width, height of the canvas.
        framing: the ranges of the model.
    """
    share = min(max(WANTED, framing.height[0]), framing.height[1])
    x, y = (min(max(0.5, low), high) for low, high in (framing.x, framing.y))
    side = max(round(float(box[3] - box[1]) / share), 8)
    centre = (box[:2] + box[2:]) / 2
    left, top = round(float(centre[0]) - x * side), round(float(centre[1]) - y * side)
    pixel = view[2] / size[0]
    return Region(
        left, top, side, (view[0] + left * pixel, view[1] + top * pixel, side * pixel, side * pixel)
    )


def skipped_steps(steps: int) -> int:
    """How many of the steps the second pass leaves out: at least one is run."""
    return min(steps - 1, round(steps * (1 - NOISE)))


def cut_region(image: Image, region: Region, side: int) -> Image:
    """The square, enlarged to `side` pixels; beyond the canvas its border goes on."""
    rows = np.clip(np.arange(region.top, region.top + region.side), 0, image.shape[0] - 1)
    columns = np.clip(np.arange(region.left, region.left + region.side), 0, image.shape[1] - 1)
    return _resized(image[rows][:, columns], side)


def soft_mask(i_3d: Float[np.ndarray, "S S"]) -> Float[np.ndarray, "S S"]:
    """1 on the rendered face and a little beyond, falling softly to 0, which it is at the square's border."""
    side = len(i_3d)
    reach = max(1, round(MARGIN * side))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (4 * reach + 1, 4 * reach + 1))
    grown = cv2.dilate((i_3d > 0).astype(np.float32), disc)
    inner = np.zeros_like(grown)
    inner[2 * reach : -2 * reach, 2 * reach : -2 * reach] = 1
    soft = cv2.GaussianBlur(grown * inner, (4 * reach + 1, 4 * reach + 1), reach * 0.75)
    return np.asarray(soft, np.float32)


def blended(image: Image, face: Image, mask: Float[np.ndarray, "S S"], region: Region) -> Image:
    """The picture with the face, as large as `cut_region` made it, in its place; beyond the mask nothing changes."""
    left, top = max(region.left, 0), max(region.top, 0)
    right = min(region.left + region.side, image.shape[1])
    bottom = min(region.top + region.side, image.shape[0])
    inside = np.s_[top - region.top : bottom - region.top, left - region.left : right - region.left]
    share = _resized(mask, region.side)[inside][..., None]
    old, new = image[top:bottom, left:right], _resized(face, region.side)[inside]
    result = image.copy()
    result[top:bottom, left:right] = np.rint(old + share * (new.astype(np.float32) - old)).astype(np.uint8)
    return result


def _resized(picture: np.ndarray, side: int) -> np.ndarray:
    shrinks = side < len(picture)
    return cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
