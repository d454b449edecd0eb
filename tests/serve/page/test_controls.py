"""Sliders and readings on the light model: exact where nothing moved, known numbers where something did."""

from dataclasses import replace

import pytest
import torch

from diffpc.face3d.light import LightFaceModel, load_light_model
from diffpc.face3d.pose import Angles
from diffpc.face3d.predict import Placement, posed
from diffpc.face3d.presets import EXPRESSIONS, preset
from diffpc.framing import framed
from diffpc.presets import tiny
from diffpc.serve.page.controls import (
    ExpressionSliders,
    PoseSliders,
    Start,
    controlled,
    expressed,
    expression_reading,
    pose_reading,
    posed_by,
    shown,
    started,
    within,
)

SIZE = (128, 128)
FRAMING = tiny().faces.framing


@pytest.fixture(scope="module")
def model() -> LightFaceModel:
    return load_light_model()


def start_of(name: str, model: LightFaceModel) -> Start:
    return started(preset(name, model), model, SIZE, FRAMING)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("neutral", ExpressionSliders()),
        ("smile", ExpressionSliders(smile=0.9)),
        ("eyes_closed", ExpressionSliders(eyes=-0.9)),
        ("raised_brows", ExpressionSliders(brows=1.0)),
    ],
)
def test_the_sliders_stand_where_a_named_expression_is(
    name: str, expected: ExpressionSliders, model: LightFaceModel
) -> None:
    assert expression_reading(preset(name, model), model) == expected


@pytest.mark.parametrize("name", list(EXPRESSIONS))
def test_sliders_left_alone_change_nothing(name: str, model: LightFaceModel) -> None:
    start = start_of(name, model)
    assert expressed(start, start.expression, model) is start.params


def test_a_moved_slider_adds_its_scores_to_what_is_there(model: LightFaceModel) -> None:
    start = start_of("smile", model)
    moved = expressed(start, replace(start.expression, mouth=0.5), model)
    names = model.expression_names
    jaw, rest = names.index("jawOpen"), float(model.rest[names.index("jawOpen")])
    assert float(moved.expression[jaw]) == pytest.approx(rest + 0.5 * (0.9 - rest), abs=1e-6)
    others = [number for number in range(len(names)) if number != jaw]
    assert torch.equal(moved.expression[others], start.params.expression[others])


def test_a_slider_moved_back_to_relaxed_takes_the_smile_away(model: LightFaceModel) -> None:
    start = start_of("smile", model)
    relaxed = expressed(start, replace(start.expression, smile=0.0), model)
    number = model.expression_names.index("mouthSmileLeft")
    # The named smile has 0.9; the slider, read as 0.9, takes 0.9 of the way from relaxed to a full smile away.
    assert float(relaxed.expression[number]) == pytest.approx(
        0.9 - 0.9 * (1 - float(model.rest[number])), abs=1e-6
    )


def test_a_pose_in_numbers_is_the_command_lines(model: LightFaceModel) -> None:
    sliders = PoseSliders(25.0, -5.0, 10.0, 0.45, 0.5, 0.6)
    expected = posed(model, Angles(25.0, -5.0, 10.0), Placement(0.45, 0.5, 0.6), SIZE)
    found = posed_by(sliders, model, SIZE)
    assert torch.equal(found.rotation, expected.rotation) and torch.equal(found.camera, expected.camera)


@pytest.mark.parametrize(
    "sliders",
    [
        PoseSliders(),
        PoseSliders(30.0, 0.0, 0.0, 0.45, 0.5, 0.6),
        PoseSliders(-20.0, 15.0, -10.0, 0.55, 0.6, 0.7),
    ],
)
def test_reading_a_pose_is_the_inverse_of_posing(sliders: PoseSliders, model: LightFaceModel) -> None:
    params = posed_by(sliders, model)
    assert pose_reading(params, model, (0.0, 0.0, 1024.0, 1024.0)) == sliders


def test_a_pose_left_alone_is_the_photos_own_and_a_moved_one_is_in_numbers(model: LightFaceModel) -> None:
    camera = torch.tensor([0.8, 0.03, -0.07])
    photo = started(replace(preset("neutral", model), camera=camera), model, SIZE, FRAMING)
    person = preset("neutral", model)
    alone = controlled(person, photo, photo, (photo.pose, photo.expression), model)
    assert torch.equal(alone.camera, camera)
    moved = controlled(person, photo, photo, (replace(photo.pose, yaw=20.0), photo.expression), model)
    assert torch.equal(moved.camera, posed_by(replace(photo.pose, yaw=20.0), model).camera)


def test_the_identity_keeps_its_shape(model: LightFaceModel) -> None:
    person = replace(preset("neutral", model), shape=torch.ones(model.sizes.shape))
    start = start_of("surprise", model)
    found = controlled(person, start, start, (start.pose, start.expression), model)
    assert torch.equal(found.shape, person.shape)
    assert torch.equal(found.expression, start.params.expression)


def test_readings_of_place_lie_in_what_the_model_frames(model: LightFaceModel) -> None:
    far = PoseSliders(yaw=80.0, x=0.1, y=0.9, size=0.2)
    limited = within(far, FRAMING)
    assert limited == PoseSliders(60.0, 0.0, 0.0, FRAMING.x[0], FRAMING.y[1], FRAMING.height[0])
    view = framed(posed_by(limited, model), model, SIZE, FRAMING)
    assert view[2] == view[3]


def test_the_light_model_shows_every_slider(model: LightFaceModel) -> None:
    both = (-1.0, 1.0)
    assert shown(model) == {"mouth": (0.0, 1.0), "smile": both, "brows": both, "eyes": both}
