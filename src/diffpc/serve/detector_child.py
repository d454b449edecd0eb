"""What runs in the face detector's process; it imports no torch, so that it starts at once."""

from __future__ import annotations

import signal

from diffpc.faces.detect import FaceDetector, load_detector
from diffpc.types import Face, Image

_LOADED: list[FaceDetector] = []


def prepare(name: str) -> None:
    """Load the detector of that name, once per process."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C goes to the whole group; the service ends its child itself
    _LOADED.append(load_detector(name))


def find(image: Image) -> tuple[Face, ...]:
    """See `FaceDetector`."""
    return _LOADED[0](image)
