"""Matting without weights: OpenCV's GrabCut, started from where a person's head and shoulders usually are."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from diffpc.faces.align import ARCFACE_112, Matrix, alignment_matrix, invert, transform_points
from diffpc.faces.matte import Matte, refine_edges
from diffpc.faces.views import View, compose, scaled_view
from diffpc.types import Face, Image

Mask = UInt8[np.ndarray, "h w"]

_Ellipse = tuple[tuple[float, float], tuple[float, float]]
_Profile = tuple[tuple[float, float], ...]

_FACE = ((56.0, 56.0), (39.0, 57.0))
_HEAD = ((56.0, 50.0), (58.0, 76.0))
_HEAD_LARGEST = ((56.0, 52.0), (92.0, 112.0))
"""Centre and half axes of ellipses, in the pixels of ArcFace's 112 chip: surely face and hair; the head with
ordinary hair; the farthest that hair and hats reach."""

_CORE = ((112.0, 14.0), (135.0, 16.0), (180.0, 40.0))
_SHOULDERS = ((95.0, 36.0), (128.0, 46.0), (165.0, 110.0), (215.0, 132.0))
_SHOULDERS_LARGEST = ((60.0, 92.0), (105.0, 110.0), (140.0, 170.0), (200.0, 210.0))
"""Height and half width of the upper body around the face's middle, in chip pixels; as wide below."""

_LEAST_HAIR, _LEAST_BODY = 0.25, 0.45
"""Shares of the uncertain head and body below which the cut has lost them (dark hair on a dark background).
Chosen on twelve photos: good cuts keep at least 0.4 (hair) and 0.67 (body), failures 0.15 and 0.33."""


@dataclass(frozen=True)
class GrabCutSettings:
    """How the mask is found."""

    side: int = 176
    """Longer side of the copy that GrabCut sees, in pixels."""
    iterations: int = 3
    """Rounds of colour model and cut."""
    radius: int = 2
    """Half width of the edge that is softened, in pixels of the copy."""


class GrabCutMatter:
    """A `Matter` after Rother et al. (SIGGRAPH 2004); the expected shape stands in where the cut fails."""

    def __init__(self, settings: GrabCutSettings) -> None:
        self.settings = settings

    def __call__(self, image: Image, face: Face) -> Matte:
        """Return the matte of the person whose face is given."""
        small = scaled_view(image, min(1.0, self.settings.side / max(image.shape[:2])))
        shape = _Shape.of(small, face)
        mask = _cut(small.image, shape, self.settings.iterations)
        return refine_edges(mask, small.image, image, self.settings.radius)


def grabcut_matter(settings: GrabCutSettings | None = None) -> GrabCutMatter:
    """Build the matter."""
    return GrabCutMatter(settings or GrabCutSettings())


@dataclass(frozen=True)
class _Shape:
    """Where the person is expected in one view; masks of 0 and 1."""

    prior: Mask
    """GrabCut's labels: surely or probably the person, probably or surely not."""
    head: Mask
    """Probable head."""
    body: Mask
    """Probable shoulders and chest."""

    @staticmethod
    def of(view: View, face: Face) -> _Shape:
        to_view = compose(view.matrix, invert(alignment_matrix(face.landmarks, face.layout, ARCFACE_112)))
        upright = _upright(to_view)
        shape = view.image.shape[:2]

        def head(ellipse: _Ellipse) -> Mask:
            return _filled(shape, _ellipse(ellipse, to_view))

        def body(profile: _Profile) -> Mask:
            return _filled(shape, _body(profile, upright, shape[0]))

        labels = (
            (cv2.GC_PR_BGD, head(_HEAD_LARGEST) | body(_SHOULDERS_LARGEST)),
            (cv2.GC_PR_FGD, head(_HEAD) | body(_SHOULDERS)),
            (cv2.GC_FGD, head(_FACE) | body(_CORE)),
        )
        prior = np.full(shape, cv2.GC_BGD, np.uint8)
        for label, where in labels:
            prior[where > 0] = label
        return _Shape(prior, head(_HEAD), body(_SHOULDERS))


def _upright(matrix: Matrix) -> Matrix:
    """The same place and scale without the head's tilt: bodies hang down from tilted heads."""
    scale = float(np.hypot(*matrix[:, 0]))
    middle = np.array([[56.0, 68.0]])
    shift = transform_points(middle, matrix)[0] - scale * middle[0]
    return np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])


def _filled(shape: tuple[int, ...], polygon: np.ndarray) -> Mask:
    mask = np.zeros(shape, np.uint8)
    cv2.fillPoly(mask, [polygon], 1)
    return mask


def _ellipse(ellipse: _Ellipse, matrix: Matrix) -> np.ndarray:
    (x, y), (half_width, half_height) = ellipse
    angles = np.linspace(0, 2 * np.pi, 72, endpoint=False)
    points = np.stack([x + half_width * np.cos(angles), y + half_height * np.sin(angles)], axis=1)
    return _polygon(points, matrix)


def _body(profile: _Profile, matrix: Matrix, bottom: int) -> np.ndarray:
    lowest = max((bottom - matrix[1, 2]) / matrix[1, 1], profile[-1][0]) + 1
    heights = np.array([*(height for height, _ in profile), lowest])
    widths = np.array([*(width for _, width in profile), profile[-1][1]])
    left = np.stack([56 - widths, heights], axis=1)
    right = np.stack([56 + widths, heights], axis=1)
    return _polygon(np.concatenate([left, right[::-1]]), matrix)


def _polygon(points: Float[np.ndarray, "N 2"], matrix: Matrix) -> np.ndarray:
    # far outside any copy, and within what OpenCV's fixed-point drawing can hold
    return np.rint(transform_points(points, matrix)).clip(-8000, 8000).astype(np.int32)


def _cut(image: Image, shape: _Shape, iterations: int) -> Mask:
    """Run GrabCut; where there is nothing to tell apart, or a part is lost, the expected shape stands in."""
    expected = shape.head | shape.body
    if expected.all():
        return expected
    labels = shape.prior.copy()
    cv2.setRNGSeed(0)  # its colour clusters start from random centres
    bgr = np.ascontiguousarray(image[:, :, ::-1])
    cv2.grabCut(
        bgr, labels, (0, 0, 0, 0), np.zeros((1, 65)), np.zeros((1, 65)), iterations, cv2.GC_INIT_WITH_MASK
    )
    mask = _clean(np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8), shape.prior)
    uncertain = shape.prior != cv2.GC_FGD
    hair, body = uncertain & (shape.head > shape.body), uncertain & (shape.body > 0)
    if _share(mask, hair) < _LEAST_HAIR:
        mask = mask | shape.head
    if _share(mask, body) < _LEAST_BODY:
        mask = mask | shape.body
    return mask


def _share(mask: Mask, where: np.ndarray) -> float:
    return float(mask[where].mean()) if where.any() else 1.0


def _clean(mask: Mask, prior: Mask) -> Mask:
    """Keep what hangs together with the face, without holes and threads."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    opened = np.maximum(cv2.morphologyEx(mask, cv2.MORPH_OPEN, kernel), prior == cv2.GC_FGD).astype(np.uint8)
    _, components = cv2.connectedComponents(opened)
    wanted = np.unique(components[prior == cv2.GC_FGD])
    kept = np.isin(components, wanted[wanted > 0]).astype(np.uint8)
    return np.asarray(cv2.morphologyEx(kept, cv2.MORPH_CLOSE, kernel, iterations=2), dtype=np.uint8)
