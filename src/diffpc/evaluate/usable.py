"""Which photos can be used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from diffpc.errors import InputError
from diffpc.faces.detect import choose_face, load_detector
from diffpc.images import read_image


def one_face(detector: str) -> Callable[[Path], bool]:
    """Tells whether a photo can be read and shows one face that stands out.

    Raises:
        UsageError: if the detector is unknown.
    """
    find = load_detector(detector)

    def usable(photo: Path) -> bool:
        try:
            choose_face(find(read_image(photo)), None, photo.name, find.tried)
        except InputError:
            return False
        return True

    return usable
