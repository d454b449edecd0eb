"""A face detector in a process of its own.

dlib's convolutional detector holds Python's lock for seconds, and its detectors must not run in two threads at
once; a fault in native code on an odd photo ends the child and not the service.
"""

from __future__ import annotations

import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

from diffpc.errors import InputError
from diffpc.eyes import Eyes
from diffpc.serve.detector_child import find, prepare, tried
from diffpc.types import Face, Image

ISOLATED = frozenset({"dlib"})
"""Names of detectors that need it."""


class ProcessDetector:
    """A `FaceDetector` that asks a child process."""

    def __init__(self, name: str) -> None:
        """The child begins to load at once; see `wait`."""
        self.tried = ""
        self._name = name
        self._lock = threading.Lock()
        self._pool = _pool(name)

    def wait(self) -> None:
        """Wait until the child has loaded the detector.

        Raises:
            DiffPCError: if it cannot.
        """
        self.tried = self._pool.submit(tried).result()

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


def isolated(name: str) -> ProcessDetector | None:
    """The detector of that name in a child, if it needs one; it loads while the caller does other things."""
    return ProcessDetector(name) if name in ISOLATED else None


def complete(eyes: Eyes, child: ProcessDetector | None) -> None:
    """Load everything that looks at photos.

    Args:
        eyes: a model's.
        child: from `isolated`, for their detector.

    Raises:
        DiffPCError: if a part cannot be loaded.
    """
    _ = (eyes.tools, eyes.predictor, eyes.model)
    if child is None:
        _ = eyes.detector
        return
    eyes.detector = child
    child.wait()


def _pool(name: str) -> ProcessPoolExecutor:
    # spawn: a forked child would inherit torch's and the web server's threads and locks
    pool = ProcessPoolExecutor(1, get_context("spawn"), initializer=prepare, initargs=(name,))
    pool.submit(int)  # begins to load while the caller does other things
    return pool
