from dataclasses import replace

import numpy as np
import pytest
import torch

from diffpc.errors import InputError, UsageError
from diffpc.face3d.light import load_light_model
from diffpc.face3d.pose import Angles, euler_degrees
from diffpc.face3d.predict import (
    Placement,
    condition,
    load_predictor,
    photo_points,
    posed,
    render_condition,
)
from diffpc.face3d.presets import preset
from tests.face3d.test_model import small_flame


@pytest.fixture(scope="module")
def model():
    return load_light_model()


def box(picture: torch.Tensor) -> tuple[float, float, float, float]:
    rows, columns = (picture > 0).any(1).nonzero(), (picture > 0).any(0).nonzero()
    return float(columns.min()), float(rows.min()), float(columns.max()), float(rows.max())


def test_eq_7_takes_each_part_from_its_photo(model):
    reference = replace(model.expressed({}), shape=torch.randn(model.sizes.shape))
    smile = preset("smile", model)
    turned = posed(model, Angles(yaw=30.0), frame=(200, 100))
    params = condition(reference, smile, turned)
    assert params.shape is reference.shape
    assert params.expression is smile.expression and params.jaw is smile.jaw
    assert params.rotation is turned.rotation and params.camera is turned.camera
    assert params.crop == turned.crop and params.frame == (200, 100)
    assert condition(reference) is reference


@pytest.mark.parametrize("frame", [(256, 256), (320, 240), (240, 320)])
@pytest.mark.parametrize("place", [Placement(), Placement(0.3, 0.6, 0.4)])
def test_numbers_place_the_face(model, frame, place):
    width, height = frame
    picture = render_condition(posed(model, Angles(), place, frame), model, height, width)
    left, top, right, bottom = box(picture)
    assert (bottom - top + 1) / height == pytest.approx(place.size, abs=0.02)
    assert ((left + right + 1) / 2 / width, (top + bottom + 1) / 2 / height) == pytest.approx(
        (place.x, place.y), abs=0.01
    )


def test_turning_keeps_the_place(model):
    left, top, right, bottom = box(render_condition(posed(model, Angles(40.0, 15.0, 30.0)), model, 256, 256))
    assert ((left + right + 1) / 512, (top + bottom + 1) / 512) == pytest.approx((0.5, 0.45), abs=0.01)
    found = euler_degrees(posed(model, Angles(40.0, 15.0, 30.0)).rotation)
    assert (found.yaw, found.pitch, found.roll) == pytest.approx((40, 15, 30), abs=1e-3)


def test_numbers_serve_flame_too():
    model = small_flame()
    params = posed(model, Angles(yaw=20.0), Placement(0.5, 0.5, 0.5), (128, 128))
    points = photo_points(params, model)
    middle = (points.min(0) + points.max(0)) / 2
    assert middle == pytest.approx([63.5, 63.5], abs=1e-2)


def test_the_render_lies_on_the_points(model):
    params = posed(model, Angles(10.0, 5.0, -20.0), Placement(0.4, 0.6, 0.5), (300, 200))
    points = photo_points(params, model)
    left, top, right, bottom = box(render_condition(params, model, 200, 300))
    assert (left, top) == pytest.approx(tuple(points.min(0)), abs=1.0)
    assert (right, bottom) == pytest.approx(tuple(points.max(0)), abs=1.0)


def test_a_view_shows_a_part_of_the_frame(model):
    params = posed(model, Angles(), frame=(256, 256))
    whole = render_condition(params, model, 256, 256)
    part = render_condition(params, model, 128, 128, view=(64.0, 32.0, 128.0, 128.0))
    assert (whole[32:160, 64:192] - part).abs().max() < 1e-3
    assert whole.min() == 0 and whole.max() <= 1


def test_wrong_requests_are_named(model):
    params = posed(model, Angles(), frame=(256, 256))
    with pytest.raises(UsageError, match="give one aspect"):
        render_condition(params, model, 128, 256)
    with pytest.raises(UsageError, match="above 0"):
        posed(model, Angles(), Placement(size=0.0))
    with pytest.raises(UsageError, match="choose one of: light, smirk"):
        load_predictor("deca")


def test_absent_smirk_says_where_to_get_it(monkeypatch):
    monkeypatch.delenv("DIFFPC_ASSETS", raising=False)
    with pytest.raises(InputError, match=r"SMIRK_em1\.pt is no file; .* run: diffpc assets fetch smirk"):
        load_predictor("smirk")


def test_points_are_in_photo_pixels(model):
    params = posed(model, Angles(), Placement(0.5, 0.5, 0.5), (400, 400))
    points = photo_points(params, model)
    assert points.shape == (468, 2) and np.ptp(points[:, 1]) == pytest.approx(200, abs=1)
