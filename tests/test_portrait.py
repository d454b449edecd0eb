import math
from dataclasses import replace

import pytest
import torch

from diffpc.errors import UsageError
from diffpc.face3d.light import load_light_model
from diffpc.face3d.pose import Angles
from diffpc.face3d.predict import posed
from diffpc.portrait import Clock, Control, PortraitSettings, check_settings


def test_a_controls_size_is_its_renders():
    model = load_light_model()
    assert Control(posed(model, Angles()), (0.0, 0.0, 9.0, 4.5), torch.zeros(64, 128)).size == (128, 64)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0),
        ("steps", 1001),
        ("count", 0),
        ("count", 65),
        ("guidance", 0.0),
        ("guidance", math.nan),
        ("strength", -0.1),
        ("strength", 2.1),
        ("seed", -1),
    ],
)
def test_settings_out_of_range_are_refused(name, value):
    with pytest.raises(UsageError, match=f"{name} is .*, expected"):
        check_settings(replace(PortraitSettings(), **{name: value}), (128, 128))


def test_the_clock_sums_a_stage():
    clock = Clock()
    for _ in range(2):
        with clock("wait"):
            pass
    assert list(clock.seconds) == ["wait"] and clock.seconds["wait"] >= 0
