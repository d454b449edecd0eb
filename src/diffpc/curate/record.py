"""One photo on its way through the stages, and why it may end there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

import numpy as np
from jaxtyping import Float

from diffpc.errors import UsageError
from diffpc.types import Face, FaceParams, Image

T = TypeVar("T")

Box: TypeAlias = tuple[float, float, float, float]
"""x0, y0, x1, y1 in pixels."""

REASONS: Mapping[str, str] = {
    "not_downloaded": "download",
    "undecodable": "decode",
    "crashed": "decode",
    "no_face": "face",
    "several_faces": "face",
    "other_face": "face",
    "no_room": "crop",
    "small": "crop",
    "border": "crop",
    "unreadable_face": "read",
    "low_quality": "quality",
    "text_on_face": "text",
    "not_wanted": "persons",
    "copy": "copies",
    "near_copy": "copies",
    "other_person": "identity",
    "few_photos": "persons",
    "over_the_cap": "persons",
}
"""Reason -> the stage that gives it."""


@dataclass(frozen=True)
class Listed:
    """A photo as a source lists it; its bytes stay where they are."""

    key: str
    """Unique in its source."""
    person: str
    file: str
    """The photo, or the tar that holds it."""
    size: int
    """Bytes."""
    offset: int = 0
    """Of its first byte in the file."""
    address: str = ""
    """Where it was downloaded from."""
    rect: Box | None = None
    """Where the list says that the face is, in pixels of a photo of `rect_frame`."""
    rect_frame: tuple[int, int] | None = None
    """Width, height that `rect` refers to."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """What a table of attributes says about it."""


@dataclass(frozen=True)
class Square:
    """The part of the photo that becomes the picture, in whole photo pixels."""

    left: int
    top: int
    side: int


@dataclass(frozen=True)
class Record:
    """A photo and what the stages have found so far; None is not yet known."""

    listed: Listed
    content: bytes
    """The file."""
    image: Image | None = None
    """The whole photo."""
    face: Face | None = None
    """In photo pixels."""
    square: Square | None = None
    params: FaceParams | None = None
    """The 3D face on the photo."""
    embedding: Float[np.ndarray, " D"] | None = None
    """Raw face vector."""
    quality: float | None = None
    measures: Mapping[str, float] = field(default_factory=dict)
    """What was measured on the way, by name."""
    fingerprint: int | None = None
    """Perceptual hash of the photo, 64 bits."""
    picture: bytes | None = None
    """The square at the wanted size as a JPEG."""


@dataclass(frozen=True)
class Reject:
    """A photo that is left out."""

    listed: Listed
    reason: str
    """A key of REASONS."""
    detail: str
    """One sentence with the numbers."""
    image: Image | None = None
    """What was seen, for the contact sheet."""

    @property
    def stage(self) -> str:
        """The stage that gave it."""
        return REASONS[self.reason]


def needed(value: T | None, name: str) -> T:
    """What an earlier stage fills in.

    Raises:
        UsageError: if it did not run.
    """
    if value is None:
        raise UsageError(f"the record has no {name} yet; run the stage that finds it first")
    return value
