"""One training photo -> its training picture, and what the frozen back ends see: face, I_3d, reference features."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from diffpc.errors import InputError
from diffpc.eyes import Eyes
from diffpc.face3d.predict import photo_points, render_condition
from diffpc.face3d.skin import SIDE, Skin, peel
from diffpc.faces.detect import SIMILAR_AREA, choose_face
from diffpc.identity.reference import ReferenceFeatures, reference_features
from diffpc.images import decode_image, resize
from diffpc.photos import Photo
from diffpc.settings import Framing
from diffpc.train.settings import ExamineSettings
from diffpc.types import Crop, Face, FaceParams, Image, LandmarkLayout


@dataclass(frozen=True)
class Square:
    """An upright square of whole photo pixels."""

    left: int
    top: int
    side: int

    def points(self, points: Float[np.ndarray, "N 2"], size: int) -> Float[np.ndarray, "N 2"]:
        """Photo pixels -> pixels of the square at size x size; pixel centres at integers in both."""
        return (points + 0.5 - [self.left, self.top]) * (size / self.side) - 0.5

    def params(self, params: FaceParams, size: int) -> FaceParams:
        """The 3D face on the square at size x size, which becomes its frame."""
        x, y = self.points(np.array([params.crop.centre]), size)[0].tolist()
        crop = Crop((x, y), params.crop.size * size / self.side, params.crop.resolution)
        return replace(params, crop=crop, frame=(size, size))

    def cut(self, image: Image, size: int) -> Image:
        """The square's pixels at size x size."""
        rows, columns = slice(self.top, self.top + self.side), slice(self.left, self.left + self.side)
        return resize(image[rows, columns], size, size)


@dataclass(frozen=True)
class Examined:
    """An accepted photo."""

    key: str
    picture: Image
    """The training picture, S x S."""
    landmarks: Float[np.ndarray, "5 2"]
    """Pixels of the picture."""
    layout: LandmarkLayout
    params: FaceParams
    """The 3D face on the picture."""
    i_3d: Float[Tensor, "S S"]
    """The photo's own shape, expression and pose, in [0, 1]."""
    features: ReferenceFeatures
    """Of the whole photo as a reference; without patches (L = 0) where they are not wanted."""
    skin: Skin
    """Of the photo as a reference."""


@dataclass(frozen=True)
class Refused:
    """A photo that cannot be trained on."""

    key: str
    stage: str
    """decode, detect, predict or frame."""
    reason: str


def examine(photo: Photo, eyes: Eyes, settings: ExamineSettings) -> Examined | Refused:
    """Look at one photo as inference would.

    Raises:
        InputError: if its bytes cannot be read: that is no fault of the photo.
    """
    content = photo.read()
    stage = "decode"
    try:
        image = decode_image(content, photo.key)
        image = np.ascontiguousarray(image[:, ::-1]) if photo.mirrored else image
        stage = "detect"
        face = _only_face(image, photo.key, eyes)
        stage = "predict"
        params = eyes.params(image, face)
        stage = "frame"
        square = _square(params, photo.key, eyes, settings)
    except InputError as error:
        return Refused(photo.key, stage, str(error))
    placed = square.params(params, settings.size)
    return Examined(
        key=photo.key,
        picture=square.cut(image, settings.size),
        landmarks=square.points(face.landmarks, settings.size),
        layout=face.layout,
        params=placed,
        i_3d=render_condition(placed, eyes.model, settings.size, settings.size),
        features=_features(image, face, eyes, settings.patches),
        skin=peel(image, params, eyes.model, min(SIDE, 3 * settings.size // 2)),
    )


def training_square(
    box: tuple[float, float, float, float],
    frame: tuple[int, int],
    framing: Framing,
    aims: tuple[float, float, float],
) -> Square:
    """The square of a photo in which the face has the wanted height and place, as far as the photo reaches.

    Without a framing: the largest square, as near to the face as it can be.

    Args:
        box: x0, y0, x1, y1 of the 3D face in photo pixels.
        frame: width, height of the photo in pixels.
        framing: the ranges of the model.
        aims: where in the ranges of height, x and y the face should lie, each in [0, 1].

    Raises:
        InputError: if the photo's borders leave no square with the face in the ranges; without a name.
    """
    x0, y0, x1, y1 = box
    largest, tall = min(frame), y1 - y0
    centre = ((x0 + x1) / 2 + 0.5, (y0 + y1) / 2 + 0.5)  # from the photo's corner
    ranges = (framing.height, framing.x, framing.y)
    height, x, y = (low + aim * (high - low) for (low, high), aim in zip(ranges, aims, strict=True))
    if framing == Framing():
        height, x, y = tall / largest, 0.5, 0.5
    side = max(1, min(largest, round(tall / height)))
    left = min(max(round(centre[0] - x * side), 0), frame[0] - side)
    top = min(max(round(centre[1] - y * side), 0), frame[1] - side)
    found = (tall / side, (centre[0] - left) / side, (centre[1] - top) / side)
    for name, value, (low, high) in zip(("height", "x", "y"), found, ranges, strict=True):
        if not low - 1 / side <= value <= high + 1 / side:  # squares are of whole pixels
            raise InputError(
                f"too little of the photo is around the face: its {name} would be {value:.2f} of the picture, "
                f"the model's framing is {low:g} to {high:g}; give a wider photo"
            )
    return Square(left, top, side)


def fitting_square(
    box: tuple[float, float, float, float],
    frame: tuple[int, int],
    framing: Framing,
    aims: tuple[float, float, float],
) -> Square:
    """`training_square`; where the photo leaves too little room, with the face as large as may be.

    Raises:
        InputError: if that is too much too.
    """
    try:
        return training_square(box, frame, framing, aims)
    except InputError:
        return training_square(box, frame, framing, (1.0, *aims[1:]))


@dataclass(frozen=True)
class _CropOnly:
    """Stands in for the local features where only the crop that they would see is wanted."""

    resolution: int
    width: int

    def __call__(self, crops: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B L d2"]:
        """No patches (L = 0)."""
        return crops.new_zeros(len(crops), 0, self.width)


def _only_face(image: Image, key: str, eyes: Eyes) -> Face:
    """The face that stands out; whose it is must not be a guess."""
    faces = eyes.detector(image)
    rivals = [face for face in faces[1:] if face.area >= SIMILAR_AREA * faces[0].area]
    if rivals:
        raise InputError(f"{1 + len(rivals)} faces of similar size in {key}; crop the photo to one person")
    return choose_face(faces, None, key, eyes.detector.tried)


def _square(params: FaceParams, key: str, eyes: Eyes, settings: ExamineSettings) -> Square:
    """The training square of a face."""
    points = photo_points(params, eyes.model)
    (x0, y0), (x1, y1) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    box, framing = (x0, y0, x1, y1), eyes.settings.framing
    try:
        square = fitting_square(box, params.frame, framing, _aims(key, settings.spread))
    except InputError as error:
        raise InputError(f"{key}: {error}") from error
    if settings.size > settings.upsampling * square.side:
        raise InputError(
            f"{key}: the training picture would be {square.side} px enlarged to {settings.size}, more than "
            f"{settings.upsampling:g} times; give a larger photo"
        )
    return square


def _aims(key: str, spread: float) -> tuple[float, float, float]:
    """Three numbers in (1 - spread) / 2 to (1 + spread) / 2 that derive from the key: the same in every build."""
    words = np.frombuffer(hashlib.sha256(key.encode()).digest()[:12], ">u4")
    height, x, y = (0.5 + spread * (words / 2**32 - 0.5)).tolist()
    return height, x, y


def _features(image: Image, face: Face, eyes: Eyes, patches: bool) -> ReferenceFeatures:
    tools = eyes.tools
    if not patches:
        tools = replace(tools, local=_CropOnly(tools.local.resolution, tools.local.width))
    return reference_features(image, face, tools)


def flat_params(params: FaceParams) -> Mapping[str, Tensor]:
    """FaceParams as flat float32 tensors, `place` being crop centre (x, y), size and resolution, and the frame."""
    crop = params.crop
    place = torch.tensor([*crop.centre, crop.size, crop.resolution, *params.frame], dtype=torch.float32)
    return {name: getattr(params, name).float() for name in PARAMS} | {"place": place}


def full_params(flat: Mapping[str, Tensor]) -> FaceParams:
    """The inverse of `flat_params`."""
    x, y, size, resolution, width, height = flat["place"].tolist()
    values = {name: flat[name] for name in PARAMS}
    return FaceParams(**values, crop=Crop((x, y), size, int(resolution)), frame=(int(width), int(height)))


PARAMS = ("shape", "expression", "eyelid", "jaw", "rotation", "camera")
"""The tensors of FaceParams."""
