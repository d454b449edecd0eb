"""Label a folder of photos with MediaPipe's face landmarker: the file that `fit_basis.py` learns from.

    pip install 'diffpc[labels]'
    python -m tools.face3d.make_labels --images photos/ --task face_landmarker.task --out landmarks.npz

The task file (Apache-2.0) is MediaPipe's; mediapipe does not carry it. Note that MediaPipe's tasks send usage
metrics to their maker: label on a machine where that is fine, or without a network.

landmarks.npz: `image` (N,) path below the folder; `points` (N, 478, 3) int16, sixteenths of a pixel, x right,
y down, z back; `blendshapes` (N, 52) uint16, 1/65535; `pose` (N, 4, 4) float32, canonical face to camera.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffpc.backends import require
from diffpc.errors import DiffPCError, InputError
from diffpc.files import atomic_write
from diffpc.images import read_image
from diffpc.types import Image

SUFFIXES = (".jpg", ".jpeg", ".png")
CONFIDENCE = 0.1
"""SMIRK's, for detection and presence: hard photos should not be lost."""


@dataclass(frozen=True)
class Label:
    """One photo's label, as stored."""

    image: str
    points: NDArray[np.int16]
    blendshapes: NDArray[np.uint16]
    pose: NDArray[np.float32]


def pack(
    image: str, fractions: NDArray, size: tuple[int, int], scores: Sequence[float], pose: NDArray
) -> Label:
    """From MediaPipe's units to the file's.

    fractions: (478, 3), x and z in image widths, y in heights. size: width, height. scores: 52 in [0, 1].
    """
    width, height = size
    sixteenths = np.round(fractions * np.array([width, height, width]) * 16)
    limit = np.iinfo(np.int16)
    points = np.clip(sixteenths, limit.min, limit.max).astype(np.int16)
    blendshapes = np.round(np.clip(scores, 0, 1) * np.float64(65535)).astype(np.uint16)
    return Label(image, points, blendshapes, np.asarray(pose, np.float32))


def largest(faces: Sequence[NDArray]) -> int:
    """Index of the face (478, 3) with the largest box."""
    return int(np.argmax([np.prod(np.ptp(points[:, :2], axis=0)) for points in faces]))


def save(file: Path, labels: Sequence[Label]) -> None:
    """Write the arrays, whole or not at all."""
    with atomic_write(file) as stream:
        np.savez_compressed(
            stream,
            image=np.array([label.image for label in labels]),
            points=np.stack([label.points for label in labels]),
            blendshapes=np.stack([label.blendshapes for label in labels]),
            pose=np.stack([label.pose for label in labels]),
        )


def photos(folder: Path) -> list[Path]:
    """All photos below a folder, in order."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)


def landmarker(task: Path) -> Any:
    """MediaPipe's face landmarker for single photos."""
    require("mediapipe", "labels")
    vision = require("mediapipe.tasks.python.vision", "labels")
    base = require("mediapipe.tasks.python.core.base_options", "labels")
    if not task.is_file():
        raise InputError(f"{task}: no such task file; fetch MediaPipe's face_landmarker.task")
    options = vision.FaceLandmarkerOptions(
        base_options=base.BaseOptions(model_asset_path=str(task)),
        output_face_blendshapes=True,
        output_facial_transformation_matrixes=True,
        num_faces=4,
        min_face_detection_confidence=CONFIDENCE,
        min_face_presence_confidence=CONFIDENCE,
    )
    return vision.FaceLandmarker.create_from_options(options)


def label(finder: Any, name: str, image: Image) -> Label | None:
    """The largest face's label; None without a face."""
    mediapipe = require("mediapipe", "labels")
    result = finder.detect(mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=image))
    if not result.face_landmarks:
        return None
    faces = [np.array([(point.x, point.y, point.z) for point in face]) for face in result.face_landmarks]
    which = largest(faces)
    scores = [entry.score for entry in result.face_blendshapes[which]]
    size = (image.shape[1], image.shape[0])
    return pack(name, faces[which], size, scores, result.facial_transformation_matrixes[which])


def label_all(folder: Path, task: Path) -> Iterator[Label]:
    """Labels of the photos below a folder; those without a face are left out and named."""
    finder = landmarker(task)
    try:
        for path in photos(folder):
            name = path.relative_to(folder).as_posix()
            found = label(finder, name, np.ascontiguousarray(read_image(path)))
            if found is None:
                print(f"{name}: no face")
            else:
                yield found
    finally:
        finder.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--task", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    try:
        found = list(label_all(options.images, options.task))
        if not found:
            raise InputError(f"{options.images}: no photo with a face; check the folder")
        save(options.out, found)
    except DiffPCError as error:
        raise SystemExit(str(error)) from error
    print(f"{options.out}: {len(found)} photos")


if __name__ == "__main__":
    main()
