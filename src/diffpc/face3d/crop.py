"""The square crop that the encoder sees, and the way back from it to the photo.

SMIRK's geometry (georgeretsi/smirk @ c7de404, `demo.py`): upright squares, scaled by (resolution - 1) / size,
so that every warp is separable; sampled bilinearly with 0 outside, truncated to uint8.
Pixel centres are at integers; x right, y down.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from diffpc.errors import InputError
from diffpc.types import Crop


def crop_from_points(points: Float[np.ndarray, "N 2"], scale: float, resolution: int) -> Crop:
    """SMIRK's box: int((width + height) / 2 * scale) pixels wide, about the centre of the points' own box.

    points: x, y in photo pixels. scale: SMIRK's demo uses 1.4, its training 1.2 to 1.8.
    Raises InputError where the points span less than a pixel.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    size = int((high - low).sum() / 2 * scale)
    if size < 1:
        raise InputError(
            f"the {len(points)} points of the face span no pixel; give landmarks in photo pixels"
        )
    x, y = (low + high) / 2
    return Crop(centre=(float(x), float(y)), size=float(size), resolution=resolution)


def crop_image(image: UInt8[np.ndarray, "H W 3"], crop: Crop) -> UInt8[np.ndarray, "R R 3"]:
    """The crop's pixels; black where it reaches beyond the photo."""
    scale = crop.size / (crop.resolution - 1)
    left, top = _corner(crop)
    steps = np.arange(crop.resolution) * scale
    return _resample(image, steps + left, steps + top).astype(np.uint8)


def paste_back(
    picture: Float[np.ndarray, "R R"], crop: Crop, frame: tuple[int, int]
) -> UInt8[np.ndarray, "H W"]:
    """A picture in [0, 1] rendered in the crop, warped as SMIRK does into the frame of (width, height).

    Quantised before and truncated after the warp. With `crop_to_frame_ndc` one renders at the frame's own
    resolution instead.
    """
    scale = (crop.resolution - 1) / crop.size
    left, top = _corner(crop)
    width, height = frame
    quantised = (picture * 255).astype(np.uint8)
    warped = _resample(
        quantised[..., None], (np.arange(width) - left) * scale, (np.arange(height) - top) * scale
    )
    return warped[..., 0].astype(np.uint8)


@dataclass(frozen=True)
class FrameMap:
    """From the rasteriser's coordinates in a crop to those on a canvas: xyz -> scale * xyz + (x, y, 0)."""

    scale: float
    x: float
    y: float

    def apply(self, vertices: Float[Tensor, "B V 3"]) -> Float[Tensor, "B V 3"]:
        """The vertices, placed on the canvas; z is scaled alike, which keeps angles and thus the shading."""
        return vertices * self.scale + vertices.new_tensor([self.x, self.y, 0.0])


def crop_to_frame_ndc(
    crop: Crop, frame: tuple[int, int], view: tuple[float, float, float, float] | None = None
) -> FrameMap:
    """The map from the crop's [-1, 1] coordinates to the rasteriser's on the frame of (width, height).

    There the short side spans [-1, 1], so that the same map serves a canvas of any resolution with the
    frame's aspect. view: left, top, width, height in photo pixels of the part that the canvas shows, if
    not the whole frame; the centre of its first pixel is at (left, top).
    """
    left, top, width, height = view or (0.0, 0.0, *frame)
    short = min(width, height)
    # Crop x is crop pixel (x + 1) * resolution / 2 - 0.5; photo pixel p is canvas x (2p + 1 - width) / short.
    pixel = crop.size / (crop.resolution - 1)
    corner_x, corner_y = _corner(crop)
    middle = (crop.resolution - 1) / 2 * pixel
    return FrameMap(
        scale=crop.resolution * pixel / short,
        x=(2 * (middle + corner_x - left) + 1 - width) / short,
        y=(2 * (middle + corner_y - top) + 1 - height) / short,
    )


def _corner(crop: Crop) -> tuple[float, float]:
    """Photo coordinates of crop pixel (0, 0)."""
    return crop.centre[0] - crop.size / 2, crop.centre[1] - crop.size / 2


def _resample(image: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Bilinear samples of (H, W, C) at every (x[j], y[i]), float64 (len(y), len(x), C); 0 outside."""
    rows = _resample_axis(image, y)
    return _resample_axis(rows.swapaxes(0, 1), x).swapaxes(0, 1)


def _resample_axis(image: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Linear samples along the first axis, as though a 0 lay beyond either end."""
    padded = np.pad(image.astype(np.float64), ((1, 1), *((0, 0),) * (image.ndim - 1)))
    at = np.clip(at + 1, 0, len(padded) - 1)
    low = np.minimum(at.astype(np.int64), len(padded) - 2)
    weight = (at - low).reshape(-1, *(1,) * (image.ndim - 1))
    # In this form a flat area keeps its exact value, which truncation would otherwise lower by one.
    return padded[low] + (padded[low + 1] - padded[low]) * weight
