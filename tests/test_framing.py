from dataclasses import replace

import numpy as np
import pytest

from diffpc.face3d.model import load_face_model
from diffpc.face3d.pose import Angles
from diffpc.face3d.predict import Placement, photo_points, posed
from diffpc.framing import framed
from diffpc.settings import Framing

FREE = Framing()


@pytest.fixture(scope="module")
def model():
    return load_face_model("light")


def face_at(model, x, y, size, frame):
    return posed(model, Angles(0.0, 0.0, 0.0), Placement(x, y, size), frame)


def test_a_model_without_ranges_takes_the_largest_centred_view(model):
    square = face_at(model, 0.5, 0.5, 0.4, (400, 400))
    assert framed(square, model, (128, 128), FREE) == pytest.approx((0, 0, 400, 400), abs=1e-3)
    wide = face_at(model, 0.5, 0.5, 0.4, (600, 400))
    assert framed(wide, model, (128, 128), FREE) == pytest.approx((100, 0, 400, 400), abs=1e-3)
    tall = face_at(model, 0.5, 0.5, 0.4, (400, 600))
    assert framed(tall, model, (128, 64), FREE) == pytest.approx((0, 200, 400, 200), abs=1e-3)


def test_a_small_face_brings_the_view_nearer(model):
    params = face_at(model, 0.5, 0.5, 0.2, (400, 400))  # 80 px high, centre about (199.5, 199.5)
    left, top, width, height = framed(params, model, (128, 128), Framing(height=(0.4, 0.6)))
    assert (width, height) == pytest.approx((200, 200), rel=1e-3)  # 80 / 0.4
    assert (left + width / 2, top + height / 2) == pytest.approx((200, 200), abs=1)


def test_a_large_face_moves_the_view_away_beyond_the_photo(model):
    params = face_at(model, 0.5, 0.5, 0.9, (400, 400))  # 360 px high
    left, top, width, height = framed(params, model, (128, 128), Framing(height=(0.4, 0.6)))
    assert (width, height) == pytest.approx((600, 600), rel=1e-3)
    assert (left, top) == pytest.approx((-100, -100), abs=1)


def test_a_face_at_the_side_moves_the_view_along(model):
    params = face_at(model, 0.8, 0.3, 0.4, (400, 400))
    low, high = photo_points(params, model).min(axis=0), photo_points(params, model).max(axis=0)
    centre = (low + high) / 2
    framing = Framing(x=(0.4, 0.6), y=(0.5, 0.6))
    left, top, width, height = framed(params, model, (128, 128), framing)
    assert (width, height) == pytest.approx((400, 400))
    assert left == pytest.approx(centre[0] - 0.6 * 400)
    assert top == pytest.approx(centre[1] - 0.5 * 400)


@pytest.mark.parametrize("x", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("size", [0.1, 0.5, 1.5])
def test_wherever_the_face_was_it_is_within_the_ranges(model, x, size):
    framing = Framing(height=(0.42, 0.62), x=(0.42, 0.58), y=(0.48, 0.64))
    params = face_at(model, x, 0.4, size, (500, 300))
    left, top, width, height = framed(params, model, (128, 192), framing)
    assert width / height == pytest.approx(128 / 192)
    points = (photo_points(params, model) - [left, top]) / [width, height]
    low, high = points.min(axis=0), points.max(axis=0)
    inside = {"x": (low[0] + high[0]) / 2, "y": (low[1] + high[1]) / 2, "height": high[1] - low[1]}
    for name, value in inside.items():
        lower, upper = getattr(framing, name)
        assert lower - 1e-4 <= value <= upper + 1e-4, name


def test_only_the_face_and_its_frame_count(model):
    params = face_at(model, 0.5, 0.5, 0.4, (400, 400))
    other = replace(params, shape=params.shape * 1.0)
    assert np.allclose(framed(params, model, (64, 64), FREE), framed(other, model, (64, 64), FREE))
