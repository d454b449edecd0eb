"""What runs in the face detector's process; it imports no torch, so that it starts at once."""

from __future__ import annotations

import os
import signal
import threading
from multiprocessing import parent_process

from diffpc.errors import DiffPCError
from diffpc.faces.detect import FaceDetector, load_detector
from diffpc.types import Face, Image

_LOADED: list[FaceDetector | DiffPCError] = []


def prepare(name: str) -> None:
    """Load the detector of that name, once per process."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C goes to the whole group; the service ends its child itself
    threading.Thread(target=_end_with_the_service, daemon=True).start()
    try:
        _LOADED.append(load_detector(name))
    except DiffPCError as error:  # an initialiser that raises would only break the pool
        _LOADED.append(error)


def find(image: Image) -> tuple[Face, ...]:
    """See `FaceDetector`."""
    return _loaded()(image)


def tried() -> str:
    """See `FaceDetector`."""
    return _loaded().tried


def _loaded() -> FaceDetector:
    detector = _LOADED[0]
    if isinstance(detector, DiffPCError):
        raise detector
    return detector


def _end_with_the_service() -> None:
    """End when the service is gone: one that was killed cannot end its child, and the child would wait for ever."""
    if (service := parent_process()) is not None:
        service.join()
        os._exit(0)
