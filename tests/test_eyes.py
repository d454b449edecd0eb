import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from diffpc.errors import InputError, UsageError
from diffpc.eyes import Eyes, Likeness
from diffpc.presets import tiny
from diffpc.types import FaceParams


@dataclass(frozen=True)
class Goal:
    params: FaceParams


@pytest.fixture(scope="module")
def eyes():
    return Eyes(tiny().faces)


@pytest.fixture(scope="module")
def face(eyes, astronaut):
    return eyes.face(astronaut, None, "astronaut")


def test_nothing_is_loaded_before_it_is_needed():
    assert set(vars(Eyes(replace(tiny().faces, detector="none such")))) == {"settings", "device"}
    with pytest.raises(UsageError, match="none such"):
        _ = Eyes(replace(tiny().faces, detector="none such")).detector


def test_back_ends_are_loaded_once(eyes):
    assert eyes.detector is eyes.detector
    assert eyes.tools is eyes.tools
    assert eyes.tools.scale == tiny().faces.reference_scale


def test_a_photo_compared_to_itself_is_perfect(eyes, astronaut, face):
    features, params = eyes.features(astronaut, face), eyes.params(astronaut, face)
    found = eyes.compare(astronaut, features, Goal(params))
    assert found.similarity == pytest.approx(1, abs=1e-3)
    assert found.pose_error == pytest.approx(0, abs=0.1)
    assert found.expression_error == 0


def test_errors_are_degrees_and_root_mean_squares(eyes, astronaut, face, monkeypatch):
    features, params = eyes.features(astronaut, face), eyes.params(astronaut, face)
    other = replace(params, rotation=torch.zeros(3), expression=params.expression + 0.5)
    turned = replace(params, rotation=torch.tensor([0.0, math.radians(20), 0.0]))
    monkeypatch.setitem(vars(eyes), "predictor", lambda image, face: turned)
    found = eyes.compare(astronaut, features, Goal(other))
    assert found.pose_error == pytest.approx(20, abs=0.01)
    assert found.expression_error == pytest.approx(0.5)
    opposite = replace(features, global_vector=-features.global_vector)
    assert eyes.compare(astronaut, opposite, Goal(other)).similarity == pytest.approx(-1, abs=1e-3)


def test_no_face_is_no_likeness(eyes, astronaut, face):
    empty = np.full((64, 64, 3), 128, np.uint8)
    features, params = eyes.features(astronaut, face), eyes.params(astronaut, face)
    assert eyes.compare(empty, features, Goal(params)) == Likeness(None, None, None)
    with pytest.raises(InputError, match="no face found in empty"):
        eyes.face(empty, None, "empty")


def test_the_networks_that_read_a_reference_are_on_the_device() -> None:
    """The meta device stands for a GPU: it takes weights and computes no values."""
    eyes = Eyes(tiny().faces, torch.device("meta"))
    assert eyes.tools.embedder.device.type == "meta"
    local = eyes.tools.local
    assert isinstance(local, torch.nn.Module) and next(local.parameters()).device.type == "meta"
