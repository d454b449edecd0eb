import math

import pytest
import torch

from diffpc.face3d.flame import axis_angle_to_matrix
from diffpc.face3d.light import load_light_model
from diffpc.face3d.pose import Angles, euler_degrees, matrix_to_axis_angle, rotation_from, tilted

NOSE_TIP, FOREHEAD = 4, 10


def projected(angles: Angles) -> torch.Tensor:
    model = load_light_model()
    zero = (torch.zeros(1, model.sizes.shape), torch.zeros(1, model.sizes.expression))
    return model(*zero, rotation_from(angles)[None], torch.tensor([[1.0, 0.0, 0.0]])).projected[0]


def test_signs_on_vertices():
    rest = projected(Angles())
    assert projected(Angles(yaw=30.0))[NOSE_TIP, 0] > rest[NOSE_TIP, 0] + 0.1  # to the image's right
    assert projected(Angles(pitch=30.0))[NOSE_TIP, 1] < rest[NOSE_TIP, 1] - 0.1  # up: y points down
    # clockwise: the top goes right
    assert projected(Angles(roll=30.0))[FOREHEAD, 0] > rest[FOREHEAD, 0] + 0.1


@pytest.mark.parametrize("yaw", [-80.0, -20.0, 0.0, 45.0])
@pytest.mark.parametrize("pitch", [-60.0, 0.0, 25.0])
@pytest.mark.parametrize("roll", [-150.0, 0.0, 100.0])
def test_angles_survive_the_way_there_and_back(yaw, pitch, roll):
    found = euler_degrees(rotation_from(Angles(yaw, pitch, roll)))
    assert (found.yaw, found.pitch, found.roll) == pytest.approx((yaw, pitch, roll), abs=1e-3)


def test_frontal_is_no_rotation():
    assert rotation_from(Angles()).abs().max() < 1e-6


def test_one_axis_has_its_own_component():
    assert rotation_from(Angles(yaw=90.0)).tolist() == pytest.approx([0, math.pi / 2, 0], abs=1e-6)
    assert rotation_from(Angles(pitch=90.0)).tolist() == pytest.approx([-math.pi / 2, 0, 0], abs=1e-6)
    assert rotation_from(Angles(roll=90.0)).tolist() == pytest.approx([0, 0, -math.pi / 2], abs=1e-6)


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-3, 2.0, math.pi - 1e-5, math.pi])
def test_the_logarithm_inverts_the_exponential(angle):
    vector = torch.tensor([0.6, -0.48, 0.64], dtype=torch.float64) * angle
    matrix = axis_angle_to_matrix(vector)
    assert torch.allclose(axis_angle_to_matrix(matrix_to_axis_angle(matrix)), matrix, atol=1e-6)


def test_a_tilt_adds_to_the_roll():
    found = euler_degrees(tilted(rotation_from(Angles(20.0, 10.0, 5.0)), 12.0))
    assert (found.yaw, found.pitch, found.roll) == pytest.approx((20, 10, 17), abs=1e-3)
