import math

import cv2
import numpy as np
import pytest

from diffpc.faces.align import DLIB_150, align
from diffpc.faces.detect import load_detector
from diffpc.faces.quality import BIAS, COEFFICIENTS, FEATURES, face_measures, face_quality, quality_features


def test_the_measure_is_a_logistic_function():
    nothing = dict.fromkeys(FEATURES, 0.0)
    assert face_quality(nothing) == pytest.approx(1 / (1 + math.exp(-BIAS)))
    seen = face_quality({**nothing, "norm": 2.0, "exposure": 1.0})
    assert seen == pytest.approx(1 / (1 + math.exp(-(BIAS + 2 * 3.609 + 3.226))))
    assert set(COEFFICIENTS) == set(FEATURES) and COEFFICIENTS["size"] >= 0


def test_the_features():
    measures = {"sharpness": -3.0, "size": 0.5, "exposure": 1.0, "contrast": 0.9}
    assert quality_features(measures, 1.4) == {**measures, "sharpness_squared": 9.0, "norm": 1.4}


def test_what_pixels_tell(astronaut):
    face = load_detector("dlib")(astronaut)[0]

    def measures(image):
        return face_measures(align(image, face, DLIB_150).pixels, face)

    image = np.array(astronaut)
    plain, blurred = measures(image), measures(cv2.GaussianBlur(image, (0, 0), 6))
    assert blurred["sharpness"] < plain["sharpness"] - 1
    assert measures(image // 8)["contrast"] < 0.3 * plain["contrast"]
    assert measures(np.full_like(image, 255))["exposure"] == 0.0
    assert plain["size"] == pytest.approx(math.log2(min(math.sqrt(face.area), 112) / 64))
