import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from diffpc.face3d.light import load_light_model
from diffpc.face3d.pose import Angles, euler_degrees, rotation_distance, rotation_from
from diffpc.face3d.predict import Placement, photo_points, posed
from diffpc.face3d.smooth import filled, mean_params, recropped, smoothed, whole_frame
from diffpc.types import Crop


@pytest.fixture(scope="module")
def model():
    return load_light_model()


def at(model, yaw=0.0, roll=0.0, x=0.5, size=0.5):
    face = posed(model, Angles(yaw, 0.0, roll), Placement(x, 0.45, size), (200, 100))
    return replace(face, expression=torch.zeros_like(face.expression))


def test_another_crop_shows_the_same_face(model):
    face = at(model, yaw=20.0)
    for crop in (Crop((31.0, 12.5), 40.0, 96), whole_frame((200, 100)), Crop((-5.0, 80.0), 300.0, 224)):
        found = recropped(face, crop)
        assert found.crop == crop
        assert photo_points(found, model) == pytest.approx(photo_points(face, model), abs=1e-3)
        assert torch.allclose(recropped(found, face.crop).camera, face.camera, atol=1e-5)


def test_the_mean_of_two_poses(model):
    first, second = at(model, yaw=10.0, x=0.3, size=0.4), at(model, yaw=30.0, x=0.5, size=0.4)
    second = recropped(
        replace(second, expression=torch.ones_like(second.expression)), Crop((50.0, 40.0), 70.0, 96)
    )
    middle = mean_params([first, second], [2.0, 2.0])
    assert euler_degrees(middle.rotation).yaw == pytest.approx(20.0, abs=1e-3)
    assert torch.allclose(middle.expression, torch.full_like(first.expression, 0.5))
    same = mean_params([first, first, first], [1.0, 5.0, 2.0])
    assert photo_points(same, model) == pytest.approx(photo_points(first, model), abs=1e-3)


def test_scales_are_averaged_by_their_ratio(model):
    small, large = at(model, size=0.2), at(model, size=0.8)

    def height(face):
        return float(np.ptp(photo_points(face, model)[:, 1]))

    assert height(mean_params([small, large], [1.0, 1.0])) == pytest.approx(2 * height(small), rel=1e-3)


def test_rotations_have_no_wrap(model):
    """170 and -170 degrees of roll meet at 180, not at 0."""
    first, second = at(model, roll=170.0), at(model, roll=-170.0)
    found = mean_params([first, second], [1.0, 1.0]).rotation
    assert rotation_distance(found, rotation_from(Angles(0.0, 0.0, 180.0))) == pytest.approx(0.0, abs=1e-3)


def test_gaussian_weights_by_hand(model):
    """An impulse of expression comes back as the Gaussian's weight."""
    still = at(model)
    moved = replace(still, expression=torch.ones_like(still.expression))
    found = smoothed([still, still, moved, still, still], 0.5)
    weights = [math.exp(-0.5 * (step / 0.5) ** 2) for step in (-2, -1, 0, 1, 2)]
    for number, one in enumerate(found):
        inside = weights[max(0, 2 - number) : 7 - number]
        wanted = weights[4 - number] if abs(number - 2) <= 2 else 0.0
        assert float(one.expression[0]) == pytest.approx(wanted / sum(inside), abs=1e-5)


def test_no_smoothing_and_no_face(model):
    faces = [at(model), None, at(model, yaw=10.0)]
    assert smoothed(faces, 0.0) == faces
    assert [one is None for one in smoothed(faces, 1.0)] == [False, True, False]


def test_gaps_are_bridged_evenly_or_left(model):
    first, last = at(model, yaw=0.0), at(model, yaw=30.0)
    found = filled([None, first, None, None, last, None], 2)
    assert [one is None for one in found] == [True, False, False, False, False, True]
    assert [euler_degrees(one.rotation).yaw for one in found[1:5]] == pytest.approx([0, 10, 20, 30], abs=0.3)
    assert filled([first, None, None, last], 1) == [first, None, None, last]
