"""Expression and pose as JSON: exact, and strict about what comes back."""

import json
from dataclasses import replace

import pytest
import torch

from diffpc.errors import InputError
from diffpc.face3d.model import load_face_model
from diffpc.face3d.pose import Angles
from diffpc.face3d.predict import posed
from diffpc.face3d.written import VECTORS, is_written, read_written, written
from diffpc.types import FaceParams

MODEL = load_face_model()


@pytest.fixture
def params() -> FaceParams:
    found = posed(MODEL, Angles(1 / 3, 1 / 7, -1 / 9), frame=(640, 480))
    return replace(found, expression=torch.randn(len(found.expression), generator=torch.Generator()))


def test_it_comes_back_bit_for_bit(params: FaceParams) -> None:
    values = json.loads(json.dumps(written(params), allow_nan=False))
    assert is_written(values)
    found = read_written(values, MODEL, "it")
    assert all(torch.equal(getattr(found, name), getattr(params, name)) for name in VECTORS)
    assert (found.crop, found.frame) == (params.crop, (640, 480))
    assert not found.shape.any() and len(found.shape) == len(params.shape)


@pytest.mark.parametrize(
    "change",
    [
        {"camera": [0.0, 0.0, 0.0]},
        {"camera": [1.0, 0.0]},
        {"rotation": [0.0, float("nan"), 0.0]},
        {"rotation": [0.0, True, 0.0]},
        {"expression": "smile"},
        {"expression": [0.0] * 1001},
        {"expression": [1e7]},
        {"crop": [0.0, 0.0, 0.0, 224]},
        {"crop": [0.0, 0.0, 10.0, 224.5]},
        {"frame": [0, 480]},
        {"shape": [0.0]},
    ],
)
def test_another_form_is_not_taken(params: FaceParams, change: dict[str, object]) -> None:
    assert not is_written({**written(params), **change})
    assert not is_written(None) and not is_written([])


def test_another_models_face_is_refused(params: FaceParams) -> None:
    values = {**written(params), "expression": [0.0]}
    assert is_written(values)
    with pytest.raises(InputError, match="its expression has 1 numbers, this model's faces have"):
        read_written(values, MODEL, "it")
