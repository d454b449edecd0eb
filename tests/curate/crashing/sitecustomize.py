"""For programs that a test starts: a face detector that dies of one photo, as a broken decoder would.

Python runs this file at its start if its folder is on PYTHONPATH.
"""

import os
import signal

from diffpc.faces import detect


def crashing_detector():
    """dlib's detector, which kills its process where a photo's first pixel is pure magenta."""
    inner = detect.load_detector("dlib")

    class Crashing:
        tried = inner.tried

        def __call__(self, image):
            if tuple(image[0, 0]) == (255, 0, 255):
                os.kill(os.getpid(), signal.SIGSEGV)
            return inner(image)

    return Crashing()


detect.DETECTORS["crashing"] = "sitecustomize:crashing_detector"
