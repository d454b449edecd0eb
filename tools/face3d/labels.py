"""The teacher's labels of a photo collection, in the axes of our face models.

The file's layout is that of `make_labels.py`: points in sixteenths of a pixel (x right, y down, z back),
blendshapes in 1/65535, a pose matrix from the canonical face to the camera.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

VERTICES = 468
"""MediaPipe's points without the ten of the irises."""
OUTER_EYE_CORNERS = (33, 263)
"""Image-left, image-right: their distance in the photo is the inter-ocular distance of every figure."""

BLENDSHAPES = (
    "_neutral", "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight",
    "cheekPuff", "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight",
    "eyeLookDownLeft", "eyeLookDownRight", "eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft",
    "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight", "eyeSquintLeft", "eyeSquintRight",
    "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen", "jawRight", "mouthClose",
    "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel",
    "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight",
    "mouthPucker", "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper",
    "mouthSmileLeft", "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft",
    "mouthUpperUpRight", "noseSneerLeft", "noseSneerRight",
)  # fmt: skip


@dataclass(frozen=True)
class Labels:
    """N labelled photos."""

    image: NDArray[np.str_]
    """(N,) path under the collection's images/."""
    person: NDArray[np.str_]
    """(N,) the folder of the photo."""
    points: NDArray[np.float32]
    """(N, 468, 3) photo pixels; x right, y up, z to the viewer as in the face models; origin: pixel 0, 0."""
    blendshapes: NDArray[np.float32]
    """(N, 52) in [0, 1], in the order of BLENDSHAPES."""
    rotation: NDArray[np.float32]
    """(N, 3, 3) the teacher's head rotation, in the same axes."""

    def __len__(self) -> int:
        return len(self.image)

    def take(self, index: NDArray) -> "Labels":
        """The photos under a boolean or integer index."""
        return Labels(
            self.image[index],
            self.person[index],
            self.points[index],
            self.blendshapes[index],
            self.rotation[index],
        )


def read_labels(file: Path) -> Labels:
    """All labels of a landmarks.npz."""
    with np.load(file) as raw:
        image = raw["image"]
        points = raw["points"][:, :VERTICES].astype(np.float32) / 16 * np.array([1, -1, -1], np.float32)
        blendshapes = raw["blendshapes"].astype(np.float32) / 65535
        rotation = raw["pose"][:, :3, :3].astype(np.float32)
    person = np.array([name.split("/")[0] for name in image])
    return Labels(image, person, points, blendshapes, rotation)


def read_persons(file: Path) -> set[str]:
    """The persons of a split file: a count, then name and number of photos a line."""
    return {line.split("\t")[0] for line in file.read_text().splitlines()[1:] if line.strip()}


def split(labels: Labels, folder: Path, part: str) -> Labels:
    """The photos of the persons in `peopleDev<part>.txt`; part is Train or Test."""
    persons = read_persons(folder / f"peopleDev{part}.txt")
    return labels.take(np.array([name in persons for name in labels.person]))


def interocular(points: NDArray) -> NDArray:
    """(..., 468, 2 or 3) -> (...) distance of the outer eye corners in the image plane."""
    left, right = OUTER_EYE_CORNERS
    return np.linalg.norm(points[..., left, :2] - points[..., right, :2], axis=-1)
