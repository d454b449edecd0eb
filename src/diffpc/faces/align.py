"""Bringing a face into a fixed position and back, on photos; align_torch.py does it on tensors.

A matrix is 2 x 3, float64, and maps photo pixels to chip pixels: q = M[:, :2] p + M[:, 2], pixel centres at
integers in both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from diffpc.types import Crop, Face, Image, LandmarkLayout

Matrix = Float[np.ndarray, "2 3"]

NEUTRAL = 127
"""Gray level outside the photo and behind a person, the middle of the range."""

_MAX_SUPERSAMPLING = 8

_ARCFACE_POINTS = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
"""deepinsight/insightface, utils/face_align.py `arcface_dst`: pixels of a 112 x 112 chip."""

_DLIB_MEAN_SHAPE = np.array(
    [
        [0.8595674595992, 0.2134981538014],
        [0.6460604764104, 0.2289674387677],
        [0.1205750620789, 0.2137274526848],
        [0.3340850613712, 0.2290642403242],
        [0.4901123135679, 0.6277975316475],
    ]
)
"""davisking/dlib, image_transforms/interpolation.h `get_face_chip_details`: relative to an unpadded chip."""

_DLIB_SIZE, _DLIB_PADDING = 150, 0.25

_EYES: Mapping[LandmarkLayout, tuple[list[int], list[int]]] = {
    "eyes_nose_mouth": ([0], [1]),
    "eye_corners_nose": ([2, 3], [0, 1]),
}
"""Per layout, the points whose mean is the image's left and right eye."""


@dataclass(frozen=True)
class ChipTemplate:
    """Where the five landmarks belong in a square chip."""

    size: int
    """Side in pixels."""
    points: Mapping[LandmarkLayout, Float[np.ndarray, "5 2"]]
    """Chip pixels per layout, in the layout's order."""
    antialias: bool
    """Whether photo pixels are averaged where the chip is smaller than the face, or merely sampled."""
    dlib_rules: bool = False
    """Whether the matrix follows dlib's two peculiarities: see `alignment_matrix`."""


@dataclass(frozen=True)
class AlignedFace:
    """A face in its chip, and how it got there."""

    pixels: UInt8[np.ndarray, "S S 3"]
    """RGB."""
    matrix: Matrix
    """Photo pixels -> chip pixels."""


def align(image: Image, face: Face, template: ChipTemplate) -> AlignedFace:
    """Cut the chip of one face; black stands outside the photo, as it did when the networks were trained."""
    matrix = alignment_matrix(face.landmarks, face.layout, template)
    return AlignedFace(warp(image, matrix, template.size, template.antialias, fill=0), matrix)


def alignment_matrix(
    landmarks: Float[np.ndarray, "5 2"], layout: LandmarkLayout, template: ChipTemplate
) -> Matrix:
    """Return the similarity between the landmarks and the template.

    ArcFace's rule: the least squares fit of the landmarks to the template, in chip pixels. dlib's rules: the
    fit of the template to the landmarks, in photo pixels; and the chip's extent is an inclusive rectangle, so
    that at s photo pixels per chip pixel its n pixels span n s - 1 photo pixels.
    """
    points = template.points[layout]
    if not template.dlib_rules:
        return fit_similarity(landmarks, points)
    to_photo = fit_similarity(points, landmarks)
    step = float(np.hypot(*to_photo[:, 0]))
    stretch = (template.size - 1 / step) / (template.size - 1)
    centre = np.full(2, (template.size - 1) / 2)
    linear = to_photo[:, :2] * stretch
    shift = transform_points(centre[None], to_photo)[0] - linear @ centre
    return invert(np.concatenate([linear, shift[:, None]], axis=1))


def fit_similarity(source: Float[np.ndarray, "N 2"], target: Float[np.ndarray, "N 2"]) -> Matrix:
    """Return the rotation, scale and shift with the least squared distance of M(source) to target.

    Umeyama (PAMI 1991), in its closed form for two dimensions: with the centred points as complex numbers a
    and b, scale and rotation are sum(conj(a) b) / sum(|a|^2). It never mirrors.
    """
    a = (source - source.mean(0)) @ np.array([1, 1j])
    b = (target - target.mean(0)) @ np.array([1, 1j])
    ratio = complex(np.vdot(a, b) / np.vdot(a, a).real)
    linear = np.array([[ratio.real, -ratio.imag], [ratio.imag, ratio.real]])
    shift = target.mean(0) - linear @ source.mean(0)
    return np.concatenate([linear, shift[:, None]], axis=1)


def invert(matrix: Matrix) -> Matrix:
    """Return the matrix of the inverse map (chip pixels -> photo pixels)."""
    linear = np.linalg.inv(matrix[:, :2])
    return np.concatenate([linear, -linear @ matrix[:, 2:]], axis=1)


def transform_points(points: Float[np.ndarray, "N 2"], matrix: Matrix) -> Float[np.ndarray, "N 2"]:
    """Apply a 2 x 3 matrix to points."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def supersampling(matrix: Matrix) -> int:
    """How many samples per chip pixel and axis cover the photo pixels beneath it, 1 to 8."""
    step = 1 / float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    return int(np.clip(np.ceil(step - 0.05), 1, _MAX_SUPERSAMPLING))


def warp(
    image: Image, matrix: Matrix, size: int, antialias: bool = True, fill: int = NEUTRAL
) -> UInt8[np.ndarray, "S S 3"]:
    """Sample a size x size chip bilinearly.

    With `antialias`, a chip coarser than the photo is sampled k x k times per pixel and averaged.
    """
    count = supersampling(matrix) if antialias else 1
    offset = (count - 1) / 2  # sample j of chip pixel i lies at i + (j - offset) / count
    finer = matrix * count + np.array([[0, 0, offset], [0, 0, offset]])
    samples = cv2.warpAffine(
        image,
        finer,
        (size * count, size * count),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(fill, fill, fill),
    )
    if count == 1:
        return np.asarray(samples, dtype=np.uint8)
    return np.asarray(cv2.resize(samples, (size, size), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def paste_back(photo: Image, chip: UInt8[np.ndarray, "S S 3"], matrix: Matrix) -> Image:
    """Return the photo with the chip put where it was cut from: the inverse of `align`, up to resampling."""
    height, width = photo.shape[:2]
    back = invert(matrix)
    placed = cv2.warpAffine(chip, back, (width, height), flags=cv2.INTER_LINEAR)
    # fades over the chip's last half pixel, where the samples would mix with what is outside
    weight = cv2.warpAffine(
        np.ones(chip.shape[:2], np.float32), back, (width, height), flags=cv2.INTER_LINEAR
    )
    inside = np.asarray(weight)[..., None] > 0.999
    return np.where(inside, placed, photo).astype(np.uint8)


def face_crop(face: Face, resolution: int, scale: float = 1.3) -> Crop:
    """Return the upright square around a face, `scale` times its box (method.md, point 16)."""
    x0, y0, x1, y1 = face.box
    size = scale * max(x1 - x0, y1 - y0)
    return Crop(centre=((x0 + x1) / 2, (y0 + y1) / 2), size=size, resolution=resolution)


def crop_matrix(crop: Crop) -> Matrix:
    """Return the matrix of a crop: photo pixels -> crop pixels."""
    factor = (crop.resolution - 1) / crop.size
    x, y = crop.centre
    return np.array(
        [[factor, 0, factor * (crop.size / 2 - x)], [0, factor, factor * (crop.size / 2 - y)]],
        dtype=np.float64,
    )


def cut_crop(image: Image, crop: Crop, fill: int = NEUTRAL) -> UInt8[np.ndarray, "S S 3"]:
    """Cut an upright square out of a photo; `fill` stands where the square leaves it."""
    return warp(image, crop_matrix(crop), crop.resolution, fill=fill)


def eye_centres(points: Float[np.ndarray, "5 2"], layout: LandmarkLayout) -> Float[np.ndarray, "2 2"]:
    """Return the centres of the image's left and right eye."""
    left, right = _EYES[layout]
    return np.stack([points[left].mean(0), points[right].mean(0)])


def _transferred(
    points: Float[np.ndarray, "5 2"], layout: LandmarkLayout, eyes: Float[np.ndarray, "2 2"]
) -> Float[np.ndarray, "5 2"]:
    """Another detector's mean face, placed so that its eye centres lie at `eyes`."""
    return transform_points(points, fit_similarity(eye_centres(points, layout), eyes))


def _dlib_chip_points() -> Float[np.ndarray, "5 2"]:
    """dlib's mean shape in its padded chip; half a pixel less, since dlib counts from the chip's corner."""
    return (_DLIB_MEAN_SHAPE + _DLIB_PADDING) / (1 + 2 * _DLIB_PADDING) * _DLIB_SIZE - 0.5


def _arcface_template() -> ChipTemplate:
    eyes = eye_centres(_ARCFACE_POINTS, "eyes_nose_mouth")
    corners = _transferred(_DLIB_MEAN_SHAPE, "eye_corners_nose", eyes)
    # insightface samples without averaging, and the network was trained on such chips
    return ChipTemplate(
        112, {"eyes_nose_mouth": _ARCFACE_POINTS, "eye_corners_nose": corners}, antialias=False
    )


def _dlib_template() -> ChipTemplate:
    corners = _dlib_chip_points()
    mouth = _transferred(_ARCFACE_POINTS, "eyes_nose_mouth", eye_centres(corners, "eye_corners_nose"))
    points: Mapping[LandmarkLayout, np.ndarray] = {"eye_corners_nose": corners, "eyes_nose_mouth": mouth}
    return ChipTemplate(_DLIB_SIZE, points, antialias=True, dlib_rules=True)


ARCFACE_112 = _arcface_template()
"""ArcFace's chip. Points of the other layout are dlib's mean face with its eye centres at ArcFace's."""

DLIB_150 = _dlib_template()
"""dlib's face chip (padding 0.25). Points of the other layout are ArcFace's with their eyes at dlib's."""
