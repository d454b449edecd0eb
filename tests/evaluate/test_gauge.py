"""The gauge on a real photo that is turned, mirrored and darkened."""

import cv2
import numpy as np
import pytest
import torch

from diffpc.errors import InputError
from diffpc.evaluate.background import COLOURS, background
from diffpc.evaluate.gauge import load_gauge, tilt
from diffpc.faces.align import align
from diffpc.faces.detect import load_detector
from diffpc.tensors import to_tensor


@pytest.fixture(scope="module")
def detector():
    return load_detector("dlib")


def reading(image, detector):
    return load_gauge().read(image, detector(image)[0])


def test_a_tilted_photo_is_a_tilted_head(astronaut, detector):
    upright = reading(astronaut, detector)
    turn = cv2.getRotationMatrix2D((225, 115), -15.0, 1.0)  # cv2 counts against the clock
    tilted = reading(cv2.warpAffine(astronaut, turn, (512, 512)), detector)
    assert tilted.angles.roll - upright.angles.roll == pytest.approx(15, abs=3)
    assert tilted.angles.yaw == pytest.approx(upright.angles.yaw, abs=3)


def test_a_mirrored_chip_has_the_same_expression(astronaut, detector):
    gauge = load_gauge()
    chip = to_tensor(align(astronaut, detector(astronaut)[0], gauge.template).pixels)[None]
    one, other = gauge(chip)[0], gauge(chip.flip(-1))[0]
    assert torch.allclose(one[3:], other[3:], atol=0.02)
    assert torch.allclose(one[:3], other[:3] * torch.tensor([-1.0, 1.0, -1.0]), atol=0.1)


def test_a_smile_without_hat_glasses_or_beard(astronaut, detector):
    gauge = load_gauge()
    seen = gauge.read(astronaut, detector(astronaut)[0])
    looks = dict(zip(gauge.settings.attributes, seen.attributes.tolist(), strict=True))
    assert looks["smiling"] > 0.5 and max(looks["hat"], looks["glasses"], looks["beard"]) < 0.5
    assert dict(zip(gauge.settings.expressions, seen.expressions.tolist(), strict=True))["smile"] > 0.4
    assert dict(gauge.settings.accuracy).keys() == {
        "yaw",
        "pitch",
        "roll",
        *gauge.settings.expressions,
        *looks,
    }


def test_the_tilt_of_a_matrix():
    quarter = np.array(
        [[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]]
    )  # takes a face that lies on its right side upright
    assert tilt(quarter) == pytest.approx(90)


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"gradients": {}}')
    with pytest.raises(InputError, match="is incomplete"):
        load_gauge(tmp_path)


@pytest.mark.parametrize(
    ("colour", "name"),
    [
        ((10, 20, 30), "black"),
        ((240, 240, 235), "white"),
        ((120, 120, 118), "grey"),
        ((30, 60, 200), "blue"),
        ((40, 160, 60), "green"),
        ((200, 40, 30), "red"),
        ((150, 110, 70), "brown"),
    ],
)
def test_backgrounds_by_colour(colour, name):
    image = np.full((128, 128, 3), colour, np.uint8)
    image[40:, 30:98] = (200, 160, 140)  # the person in the middle does not count
    assert COLOURS[background(image).argmax()] == name and background(image).sum() == 1
