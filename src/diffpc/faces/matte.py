"""The person without the background."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from diffpc.backends import load
from diffpc.errors import UsageError
from diffpc.faces.align import NEUTRAL
from diffpc.types import Face, Image

Matte = Float[np.ndarray, "H W"]
"""float32 in [0, 1]: how much of each pixel is the person."""

MATTERS: dict[str, str] = {
    "grabcut": "diffpc.faces.grabcut:grabcut_matter",
    "none": "diffpc.faces.matte:keep_everything",
}
"""name -> factory. A factory takes optional keyword arguments (see there) and returns a `Matter`."""

DEFAULT_MATTER = "grabcut"


@runtime_checkable
class Matter(Protocol):
    """Separates one person from the background; the same photo and face always give the same matte."""

    def __call__(self, image: Image, face: Face) -> Matte:
        """Return the matte of the person whose face is given."""
        ...


def load_matter(name: str = DEFAULT_MATTER, **options: object) -> Matter:
    """Build a matter by name; `options` go to its factory.

    Raises:
        UsageError: if the name is unknown.
    """
    return load("matter", name, MATTERS)(**options)


def keep_everything() -> Matter:
    """Return the matter that keeps the background."""

    def matte(image: Image, face: Face) -> Matte:  # noqa: ARG001 - the seam's signature
        return np.ones(image.shape[:2], np.float32)

    return matte


def neutralise(image: Image, matte: Matte, gray: int = NEUTRAL) -> Image:
    """Return the photo with plain gray behind the person.

    Raises:
        UsageError: if the matte has not the photo's size.
    """
    if matte.shape != image.shape[:2]:
        raise UsageError(
            f"a matte of {matte.shape} does not fit a photo of {image.shape[:2]} (height, width)"
        )
    mixed = gray + (image.astype(np.float32) - gray) * matte[..., None]
    return np.rint(mixed).clip(0, 255).astype(np.uint8)


def refine_edges(
    mask: UInt8[np.ndarray, "h w"] | Float[np.ndarray, "h w"], small: Image, full: Image, radius: int
) -> Matte:
    """Soften a coarse mask along the photo's own edges and enlarge it to the full photo.

    Fast guided filter (He and Sun, arXiv 1505.00996): mask = a * gray + b in each window of the small copy; a
    and b are enlarged and applied to the full photo's gray values.
    """
    window = (2 * radius + 1, 2 * radius + 1)
    guide, target = _gray(small), mask.astype(np.float32)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.asarray(cv2.blur(values, window))

    mean_guide, mean_target = mean(guide), mean(target)
    slope = (mean(guide * target) - mean_guide * mean_target) / (mean(guide**2) - mean_guide**2 + 1e-3)
    offset = mean_target - slope * mean_guide
    size = (full.shape[1], full.shape[0])
    slope, offset = (
        cv2.resize(mean(values), size, interpolation=cv2.INTER_LINEAR) for values in (slope, offset)
    )
    return np.clip(slope * _gray(full) + offset, 0, 1).astype(np.float32)


def _gray(image: Image) -> Float[np.ndarray, "H W"]:
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), dtype=np.float32) / 255
