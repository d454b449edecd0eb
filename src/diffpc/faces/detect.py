"""Who is where in the photo."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from diffpc.backends import load
from diffpc.errors import InputError, UsageError
from diffpc.types import Face, Image

DETECTORS: dict[str, str] = {
    "dlib": "diffpc.faces.dlib_detector:dlib_detector",
    "insightface": "diffpc.faces.insightface_detector:insightface_detector",
}
"""name -> factory. A factory takes optional keyword arguments (see there) and returns a `FaceDetector`."""

DEFAULT_DETECTOR = "dlib"

SIMILAR_AREA = 0.5
"""A second face of at least this share of the largest one's area makes the choice ambiguous."""


@runtime_checkable
class FaceDetector(Protocol):
    """Finds faces; the same photo always gives the same faces."""

    tried: str
    """What a photo without a result was searched with; for the message to the user."""

    def __call__(self, image: Image) -> tuple[Face, ...]:
        """Return the faces, largest first; empty if there are none."""
        ...


def load_detector(name: str = DEFAULT_DETECTOR, **options: object) -> FaceDetector:
    """Build a detector by name; `options` go to its factory.

    Raises:
        UsageError: if the name is unknown or its package is not installed.
        InputError: if its weights are missing or damaged.
    """
    return load("face detector", name, DETECTORS)(**options)


def largest_first(faces: Sequence[Face]) -> tuple[Face, ...]:
    """Sort by area, then by place, so that the order does not depend on the detector's."""
    return tuple(sorted(faces, key=lambda face: (-face.area, face.box)))


def choose_face(
    faces: Sequence[Face],
    index: int | None,
    photo: str,
    tried: str = "the detector",
    option: str = "--face",
) -> Face:
    """Return the one face that is meant.

    Args:
        faces: largest first, as a detector returns them.
        index: the user's choice (`--face N`), counted from 0 at the largest face; None picks the largest
            if it stands out.
        photo: the photo's name, for the message.
        tried: the detector's `tried`.
        option: what the user chooses a face of this photo with, for the message.

    Raises:
        InputError: if there is no face, or if none was chosen among several of similar size.
        UsageError: if the index is out of range.
    """
    if not faces:
        raise InputError(
            f"no face found in {photo} (tried: {tried}); use a photo in which the face is upright, lit, "
            "uncovered and at least about 40 pixels wide"
        )
    if index is None:
        if len(faces) > 1 and faces[1].area >= SIMILAR_AREA * faces[0].area:
            raise InputError(
                f"{len(faces)} faces of similar size in {photo} (x0, y0, x1, y1): {_listed(faces)}; "
                f"pass {option} N to choose one"
            )
        return faces[0]
    if not 0 <= index < len(faces):
        raise UsageError(
            f"{option} {index} is out of range for {photo}; choose 0 to {len(faces) - 1} (largest first): "
            f"{_listed(faces)}"
        )
    return faces[index]


def _listed(faces: Sequence[Face]) -> str:
    boxes = (", ".join(f"{value:.0f}" for value in face.box) for face in faces)
    return "; ".join(f"{number} at ({box})" for number, box in enumerate(boxes))
