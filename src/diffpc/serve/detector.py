"""A face detector in a process of its own.

dlib's convolutional detector holds Python's lock for seconds, and its detectors must not run in two threads at
once; a fault in native code on an odd photo ends the child and not the service.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

from diffpc.errors import InputError
from diffpc.eyes import Eyes
from diffpc.serve.detector_child import find, prepare
from diffpc.types import Face, Image

ISOLATED = frozenset({"dlib"})
"""Names of detectors that need it."""


class ProcessDetector:
    """A `FaceDetector` that asks a child process."""

    def __init__(self, name: str, tried: str) -> None:
        self.tried = tried
        self._name = name
        self._lock = threading.Lock()
        self._pool = _pool(name)

    def __call__(self, image: Image) -> tuple[Face, ...]:
        """See `FaceDetector`.

        Raises:
            InputError: if the child died of the photo; the next call has a new one.
        """
        pool = self._pool
        try:
            return pool.submit(find, image).result()
        except BrokenProcessPool as error:
            with self._lock:
                if self._pool is pool:
                    self._pool = _pool(self._name)
            raise InputError(
                "the face detector died of a photo; send the request again, or another photo"
            ) from error

    def close(self) -> None:
        """End the child."""
        self._pool.shutdown(cancel_futures=True)


def isolate(eyes: Eyes) -> Callable[[], None]:
    """Load everything that looks at photos, the detector in a child where it needs one; returns what ends it."""
    _ = (eyes.tools, eyes.predictor, eyes.model)
    if eyes.settings.detector not in ISOLATED:
        _ = eyes.detector
        return lambda: None
    child = ProcessDetector(eyes.settings.detector, eyes.detector.tried)
    eyes.detector = child
    return child.close


def _pool(name: str) -> ProcessPoolExecutor:
    # spawn: a forked child would inherit torch's and the web server's threads and locks
    pool = ProcessPoolExecutor(1, get_context("spawn"), initializer=prepare, initargs=(name,))
    pool.submit(int)  # begins to load while the caller does other things
    return pool
