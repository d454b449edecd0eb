"""Training samples of the light predictor: a jittered square of a photo and the fitted parameters in it."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from diffpc.face3d.framing import Square, cut, square_for_points
from diffpc.face3d.light import LightFaceData
from tools.face3d.augment import spoil

PHOTO = 250
JITTER = (0.035, 0.07, 4.0)
"""Deviation of the square's centre and the logarithm of its size, in sides, and of its roll in degrees: what
five points of a detector leave (measured: 0.025 and 0.05), and a little more."""
RARE_JITTER = 2.5
RARE = 0.15


@dataclass(frozen=True)
class Photos:
    """Decoded photos and their fitted parameters (lfw_params.npz), in the photos' pixels, y down."""

    pixels: NDArray[np.uint8]
    """(N, 250, 250, 3)"""
    shape: NDArray[np.float32]
    expression: NDArray[np.float32]
    rotation: NDArray[np.float32]
    """(N, 3) axis-angle"""
    scale: NDArray[np.float32]
    shift: NDArray[np.float32]
    """(N, 2) tx, ty"""
    roll: NDArray[np.float32]
    """(N,) the head's, degrees"""
    box: tuple[Square, ...]
    """The face's own square, not jittered."""


@dataclass(frozen=True)
class Batch:
    images: Tensor
    """(B, 3, R, R) in [0, 1]"""
    shape: Tensor
    expression: Tensor
    rotation: Tensor
    """(B, 3) axis-angle, in the square"""
    camera: Tensor
    """(B, 3)"""


@dataclass(frozen=True)
class Mirror:
    """What a mirror does to the coefficients: a permutation and signs of each basis."""

    shape: NDArray[np.float32]
    """(S, S) mirrored = coefficients @ shape"""
    expression: NDArray[np.float32]


def mirror_of(data: LightFaceData, pairs: NDArray) -> Mirror:
    """From the bases and the vertex pairs (V,)."""

    def matrix(basis: Tensor) -> NDArray[np.float32]:
        rows = basis.numpy().reshape(len(basis), -1)
        flipped = (basis.numpy()[:, pairs] * np.array([-1, 1, 1], np.float32)).reshape(len(basis), -1)
        return np.linalg.lstsq(rows.T, flipped.T, rcond=None)[0].T.astype(np.float32)

    return Mirror(matrix(data.shape_basis), matrix(data.expression_basis))


def load_photos(params: Path, images: Path, persons: set[str], data: LightFaceData, cache: Path) -> Photos:
    """The labelled photos of these persons; pixels are decoded once and then mapped from `cache`."""
    with np.load(params) as raw:
        keep = np.array([name.split("/")[0] in persons for name in raw["image"]])
        arrays = {key: raw[key][keep] for key in raw.files if raw[key].shape[:1] == keep.shape}
    pixels = _decode(arrays["image"], images, cache)
    shift = np.stack([arrays["tx"], arrays["ty"]], 1)
    roll = _rolls(arrays["rotation"])
    points = _points(arrays, shift, data)
    box = tuple(square_for_points(found, float(angle)) for found, angle in zip(points, roll, strict=True))
    return Photos(
        pixels, arrays["shape"], arrays["expression"], arrays["rotation"], arrays["scale"], shift, roll, box
    )


def sample(
    photos: Photos, index: int, mirror: Mirror, resolution: int, random: Generator
) -> tuple[NDArray, ...]:
    """One jittered, spoiled sample: picture (R, R, 3) uint8, shape, expression, rotation, camera."""
    box = photos.box[index]
    wide = RARE_JITTER if random.random() < RARE else 1.0
    move, grow, turn = (wide * value for value in JITTER)
    centre = np.array(box.centre) + random.normal(0, move, 2) * box.size
    square = Square(
        (float(centre[0]), float(centre[1])),
        float(box.size * np.exp(random.normal(0, grow))),
        float(box.roll + random.normal(0, turn)),
        resolution,
    )
    values = labels_in(photos, index, square)
    picture = cut(photos.pixels[index], square)
    if random.random() < 0.5:
        picture, values = np.ascontiguousarray(picture[:, ::-1]), mirrored(values, mirror)
    return spoil(picture, random), *values


def labels_in(photos: Photos, index: int, square: Square) -> tuple[NDArray, ...]:
    """Shape, expression, rotation and camera of a photo's face, as seen in a square."""
    angle = np.radians(square.roll)
    untilt = Rotation.from_rotvec([0, 0, angle])
    rotation = (untilt * Rotation.from_rotvec(photos.rotation[index])).as_rotvec()
    # Crop coordinates are centred on the square: x = (p - centre) * 2 (resolution - 1) / (size * resolution).
    zoom = 2 * (square.resolution - 1) / (square.size * square.resolution)
    scale = photos.scale[index] * zoom
    x, y = (photos.shift[index] - square.centre) * [1, -1] * zoom / scale
    tx, ty, _ = untilt.apply([x, y, 0])
    camera = np.array([scale, tx, ty])
    return photos.shape[index], photos.expression[index], rotation, camera


def mirrored(values: tuple[NDArray, ...], mirror: Mirror) -> tuple[NDArray, ...]:
    """The labels of the mirrored square."""
    shape, expression, rotation, camera = values
    return shape @ mirror.shape, expression @ mirror.expression, rotation * [1, -1, -1], camera * [1, -1, 1]


def batch(photos: Photos, indices: NDArray, mirror: Mirror, resolution: int, random: Generator) -> Batch:
    """Samples of the photos under these indices."""
    rows = [sample(photos, int(index), mirror, resolution, random) for index in indices]
    images = torch.from_numpy(np.stack([row[0] for row in rows])).permute(0, 3, 1, 2)
    tensors = [torch.from_numpy(np.stack([row[k] for row in rows]).astype(np.float32)) for k in range(1, 5)]
    return Batch(images.float() / 255, *tensors)


def _decode(names: NDArray, images: Path, cache: Path) -> NDArray[np.uint8]:
    shape = (len(names), PHOTO, PHOTO, 3)
    if not cache.exists():
        draft = cache.with_suffix(".tmp.npy")
        store = np.lib.format.open_memmap(draft, "w+", np.uint8, shape)
        for row, name in enumerate(names):
            store[row] = cv2.cvtColor(cv2.imread(str(images / str(name))), cv2.COLOR_BGR2RGB)
        store.flush()
        draft.replace(cache)
    pixels = np.load(cache, mmap_mode="r")
    if pixels.shape != shape:
        raise ValueError(f"{cache}: made for {pixels.shape[0]} photos, {len(names)} wanted; delete it")
    return pixels


def _rolls(rotation: NDArray) -> NDArray[np.float32]:
    """The roll of `pose.matrix_angles`, for (N, 3)."""
    matrix = Rotation.from_rotvec(rotation).as_matrix()
    return -np.degrees(np.arctan2(matrix[:, 1, 0], matrix[:, 0, 0])).astype(np.float32)


def _points(arrays: dict[str, NDArray], shift: NDArray, data: LightFaceData) -> NDArray[np.float32]:
    """(N, V, 2) the fitted vertices in photo pixels."""
    mean, shape, expression = (
        value.numpy() for value in (data.mean, data.shape_basis, data.expression_basis)
    )
    frontal = (
        mean + np.tensordot(arrays["shape"], shape, 1) + np.tensordot(arrays["expression"], expression, 1)
    )
    matrix = Rotation.from_rotvec(arrays["rotation"]).as_matrix().astype(np.float32)
    turned = np.einsum("nij,nvj->nvi", matrix[:, :2], frontal, optimize=True) * [1, -1]
    return (turned * arrays["scale"][:, None, None] + shift[:, None]).astype(np.float32)
