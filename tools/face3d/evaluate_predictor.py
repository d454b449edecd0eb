"""Measure the light predictor on persons it never saw, starting from a real detector.

    python -m tools.face3d.evaluate_predictor --data /work/shared/data/lfw --photos 500

Prints one table. Photos without a detected face are counted, and left out of the means.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from diffpc.face3d.light import LightFaceModel
from diffpc.face3d.light_predictor import LightPredictor, load_light_predictor
from diffpc.face3d.pose import euler_degrees, matrix_angles
from diffpc.face3d.predict import photo_points
from diffpc.faces.detect import FaceDetector, load_detector
from diffpc.images import read_image
from diffpc.types import Face, FaceParams, Image
from tools.face3d.labels import BLENDSHAPES, Labels, interocular, read_labels, split

SEED = 20
EYE_POINTS = (33, 133, 362, 263)
"""Outer and inner corners, from the image's left."""
JITTER = 0.03
"""Deviation of simulated landmarks in eye distances, for --detector labels."""

SIXTY_EIGHT = (
    *(127, 234, 93, 132, 58, 172, 150, 176, 152, 400, 379, 397, 288, 361, 323, 454, 356),
    *(70, 63, 105, 66, 107, 336, 296, 334, 293, 300, 168, 197, 5, 4, 75, 97, 2, 326, 305),
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),
    *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87),
)
"""Vertices near the customary 68 landmarks: outline, brows, nose, eyes, lips."""


@dataclass(frozen=True)
class Errors:
    """Of one photo."""

    all_points: float
    """Mean distance of the 468 points in the picture, percent of the inter-ocular distance."""
    sixty_eight: float
    angles: tuple[float, float, float]
    """Absolute yaw, pitch, roll errors in degrees."""
    expression: float
    """Mean absolute error of the semantic coefficients against the teacher's blendshapes."""


def find_face(image: Image, detector: FaceDetector, points: NDArray) -> Face | None:
    """The detected face that covers the labelled one's nose, if any."""
    x, y = points[4, :2]
    for face in detector(image):
        x0, y0, x1, y1 = face.box
        if x0 < x < x1 and y0 < y < y1:
            return face
    return None


def face_from_label(points: NDArray, random: np.random.Generator) -> Face:
    """A face as a detector might see it: the label's points, jittered; points in photo pixels, y down."""
    eyes = points[list(EYE_POINTS), :2]
    five = np.stack([eyes[:2].mean(0), eyes[2:].mean(0), points[1, :2], points[61, :2], points[291, :2]])
    five = five + random.normal(0, JITTER * np.linalg.norm(five[1] - five[0]), five.shape)
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    return Face((*low, *high), five, "eyes_nose_mouth", 1.0)


def errors(params: FaceParams, model: LightFaceModel, label: Labels) -> Errors:
    """label: of this one photo (N = 1)."""
    target = label.points[0, :, :2] * [1, -1]
    distance = np.linalg.norm(photo_points(params, model) - target, axis=1) / interocular(target) * 100
    found, true = euler_degrees(params.rotation), matrix_angles(torch.from_numpy(label.rotation[0]).double())
    names = [name for name in model.expression_names if name in BLENDSHAPES]
    scores = label.blendshapes[0, [BLENDSHAPES.index(name) for name in names]]
    return Errors(
        float(distance.mean()),
        float(distance[list(SIXTY_EIGHT)].mean()),
        (abs(found.yaw - true.yaw), abs(found.pitch - true.pitch), abs(found.roll - true.roll)),
        float(np.abs(params.expression[: len(names)].numpy() - scores).mean()),
    )


def measure(predictor: LightPredictor, labels: Labels, images: Path, detector: str) -> list[Errors]:
    """Errors of the photos in which a face is found."""
    random = np.random.default_rng(SEED)
    find = None if detector == "labels" else load_detector(detector)
    found: list[Errors] = []
    for index in range(len(labels)):
        image = read_image(images / str(labels.image[index]))
        points = labels.points[index] * [1, -1, -1]
        face = face_from_label(points, random) if find is None else find_face(image, find, points)
        if face is not None:
            found.append(errors(predictor(image, face), predictor.model, labels.take(np.array([index]))))
    return found


def table(found: list[Errors], total: int) -> str:
    """Mean, median and 90th percentile of every error."""
    columns = {
        "NME, 468 points [%]": [x.all_points for x in found],
        "NME, 68 points [%]": [x.sixty_eight for x in found],
        "yaw [degrees]": [x.angles[0] for x in found],
        "pitch [degrees]": [x.angles[1] for x in found],
        "roll [degrees]": [x.angles[2] for x in found],
        "expression": [x.expression for x in found],
    }
    lines = [f"{len(found)} of {total} photos with a face", f"{'':22}{'mean':>8}{'median':>8}{'p90':>8}"]
    for name, values in columns.items():
        mean, median, high = np.mean(values), np.median(values), np.quantile(values, 0.9)
        lines.append(f"{name:22}{mean:8.3f}{median:8.3f}{high:8.3f}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--photos", type=int, default=500)
    parser.add_argument("--detector", default="dlib", help="a name of diffpc.faces.detect, or 'labels'")
    parser.add_argument("--weights", type=Path, default=None)
    parser.add_argument("--passes", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    labels = split(read_labels(options.data / "landmarks.npz"), options.data, "Test")
    chosen = labels.take(np.random.default_rng(SEED).permutation(len(labels))[: options.photos])
    predictor = load_light_predictor(options.weights)
    predictor.passes = options.passes
    print(table(measure(predictor, chosen, options.data / "images", options.detector), len(chosen)))


if __name__ == "__main__":
    main()
