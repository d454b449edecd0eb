"""Each metric against values computed by hand."""

import math

import numpy as np
import pytest

from diffpc.evaluate import metrics
from diffpc.face3d.pose import Angles, rotation_from

NAN = np.nan


def test_cosine_seen_from_a_centre():
    first, second = np.array([[3.0, 0.0], [1.0, 1.0]]), np.array([[0.0, 2.0], [2.0, 2.0]])
    assert metrics.cosine(first, second) == pytest.approx([0.0, 1.0])
    # From (1, 1): (2, -1) and (-1, 1) give -3 / sqrt(10).
    assert metrics.cosine(first[:1], second[:1], np.array([1.0, 1.0]))[0] == pytest.approx(-3 / math.sqrt(10))
    assert np.isnan(metrics.cosine(np.array([[NAN, 0.0]]), second[:1]))[0]


def test_acceptance():
    found = metrics.accepted(np.array([0.5, 0.49, NAN]), 0.5)
    assert found[:2].tolist() == [1.0, 0.0] and np.isnan(found[2])


def test_the_nearest_reference():
    references = np.array([[1.0, 0.0], [0.0, 1.0], [NAN, NAN]])
    portraits = np.array([[2.0, 0.1], [2.0, 0.1], [NAN, NAN]])
    found = metrics.retrieved(portraits, references, np.array([0, 1, 0]))
    assert found[:2].tolist() == [1.0, 0.0] and np.isnan(found[2])


def test_coefficients():
    found, wanted = np.array([[0.3, 0.0], [NAN, 0.0]]), np.array([[0.0, 0.4], [0.0, 0.0]])
    errors = metrics.coefficient_error(found, wanted)
    assert errors[0] == pytest.approx(100 * math.sqrt((0.09 + 0.16) / 2)) and np.isnan(errors[1])
    assert metrics.coefficient_error(found, wanted, [1])[0] == pytest.approx(40.0)


def test_rotations_about_one_axis_differ_by_their_angles():
    found = np.array([[0.0, 0.3, 0.0], [0.2, 0.0, 0.0], [NAN, 0.0, 0.0]])
    wanted = np.array([[0.0, -0.2, 0.0], [0.2, 0.0, 0.0], [0.0, 0.0, 0.0]])
    errors = metrics.rotation_error(found, wanted)
    assert errors[0] == pytest.approx(math.degrees(0.5), abs=1e-4)
    assert errors[1] == pytest.approx(0.0, abs=1e-3) and np.isnan(errors[2])


def test_rotation_error_is_scipys():
    from scipy.spatial.transform import Rotation

    random = np.random.default_rng(0)
    found, wanted = random.normal(size=(2, 20, 3)) * 0.8
    between = Rotation.from_rotvec(found).inv() * Rotation.from_rotvec(wanted)
    assert metrics.rotation_error(found, wanted) == pytest.approx(np.degrees(between.magnitude()), abs=1e-4)


def at(degrees: float) -> list[float]:
    return [math.cos(math.radians(degrees)), math.sin(math.radians(degrees))]


@pytest.mark.parametrize(
    ("portrait", "score"), [(0.0, 1.0), (60.0, -1.0), (30.0, 0.0), (15.0, 0.5), (-15.0, 1.0), (90.0, -1.0)]
)
def test_copy_score_by_angles(portrait, score):
    """The reference at 0 and the other photo at 60 degrees."""
    found = metrics.copy_score(np.array([at(portrait)]), np.array([at(0.0)]), np.array([at(60.0)]))
    assert found[0] == pytest.approx(score, abs=1e-6)


def test_copy_score_without_a_second_photo_or_with_the_same():
    one = np.array([at(10.0)])
    assert metrics.copy_score(one, np.array([at(0.0)]), np.array([at(0.0)]))[0] == 0.0
    assert np.isnan(metrics.copy_score(one, np.array([at(0.0)]), np.array([[NAN, NAN]])))[0]


def test_mean_difference():
    assert metrics.mean_difference(np.array([[0.1, 0.5]]), np.array([[0.3, 0.0]])) == pytest.approx([0.35])


def test_yaw_is_the_angle_of_the_pose():
    angles = [Angles(25.0, -10.0, 5.0), Angles(-60.0, 20.0, -30.0), Angles()]
    rotations = np.stack([rotation_from(one).double().numpy() for one in angles] + [np.full(3, np.nan)])
    found = metrics.yaw_degrees(rotations)
    assert found[:3] == pytest.approx([25.0, -60.0, 0.0], abs=1e-4) and np.isnan(found[3])


def test_the_mean_of_the_products_is_pearsons_correlation():
    first, second = np.random.default_rng(0).normal(size=(2, 50))
    second = 0.5 * first + second
    second[[3, 7]] = np.nan
    values = metrics.correlated(first, second)
    known = ~np.isnan(second)
    assert np.isnan(values).tolist() == (~known).tolist()
    assert np.nanmean(values) == pytest.approx(np.corrcoef(first[known], second[known])[0, 1], abs=1e-12)
    assert metrics.correlated(np.ones(4), np.arange(4.0)).tolist() == [0.0] * 4
    assert np.isnan(metrics.correlated(np.full(3, np.nan), np.arange(3.0))).all()
