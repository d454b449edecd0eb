import numpy as np
import pytest
import torch

from diffpc.errors import InputError
from diffpc.face3d.encoder import FaceEncoder
from diffpc.face3d.framing import crop_for_face
from diffpc.face3d.light_predictor import load_light_predictor
from diffpc.face3d.pose import euler_degrees
from diffpc.face3d.predict import load_predictor, photo_points
from diffpc.face3d.smirk_predictor import SmirkPredictor
from diffpc.faces.detect import load_detector
from diffpc.files import asset
from diffpc.types import Face


@pytest.fixture(scope="module")
def seen(astronaut) -> tuple[np.ndarray, Face]:
    return astronaut, load_detector("dlib")(astronaut)[0]


def test_a_real_photo(seen):
    image, face = seen
    predictor = load_predictor("light")
    params = predictor(image, face)
    assert params.frame == (512, 512) and params.crop.resolution == predictor.resolution
    assert params.eyelid.shape == params.jaw.shape == (0,)
    angles = euler_degrees(params.rotation)
    assert abs(angles.yaw) < 25 and abs(angles.pitch) < 20 and abs(angles.roll) < 12
    points = photo_points(params, predictor.model)
    eyes = np.stack([points[[33, 133]].mean(0), points[[263, 362]].mean(0)])
    detected = np.stack([face.landmarks[[2, 3]].mean(0), face.landmarks[[0, 1]].mean(0)])
    distance = np.linalg.norm(detected[1] - detected[0])
    assert np.linalg.norm(eyes - detected, axis=1).max() < 0.2 * distance
    smile = params.expression[predictor.model.expression_names.index("mouthSmileLeft")]
    assert smile > 0.4


def test_the_same_photo_gives_the_same_parameters(seen):
    predictor = load_light_predictor()
    first, second = predictor(*seen), predictor(*seen)
    assert torch.equal(first.camera, second.camera) and torch.equal(first.expression, second.expression)


def test_a_turned_photo_gives_a_turned_face(seen):
    image, face = seen
    predictor = load_light_predictor()
    upright = predictor.read(image, crop_for_face(face, predictor.resolution))
    quarter = np.ascontiguousarray(np.rot90(image, -1))  # clockwise
    x, y = face.landmarks.T
    turned = Face((0.0, 0.0, 1.0, 1.0), np.stack([511 - y, x], 1), face.layout, 1.0)
    found = predictor.read(quarter, crop_for_face(turned, predictor.resolution))
    expected, angles = euler_degrees(upright.rotation), euler_degrees(found.rotation)
    assert angles.roll == pytest.approx(expected.roll + 90, abs=1.0)
    assert (angles.yaw, angles.pitch) == pytest.approx((expected.yaw, expected.pitch), abs=1.0)
    points, before = photo_points(found, predictor.model), photo_points(upright, predictor.model)
    assert np.abs(points - np.stack([511 - before[:, 1], before[:, 0]], 1)).max() < 1.0


def test_the_weights_are_small():
    assert asset("light_predictor/model.safetensors").stat().st_size < 5_000_000


def test_absent_weights_are_named(tmp_path):
    with pytest.raises(InputError, match=r"config\.json"):
        load_light_predictor(tmp_path)


def test_smirk_reads_the_crop_of_the_light_predictors_points(seen):
    torch.manual_seed(0)
    params = SmirkPredictor(FaceEncoder(), load_light_predictor())(*seen)
    assert (len(params.shape), len(params.expression), len(params.eyelid), len(params.jaw)) == (300, 50, 2, 3)
    x, y = params.crop.centre
    x0, y0, x1, y1 = seen[1].box
    assert params.crop.resolution == 224 and x0 < x < x1 and y0 < y < y1
    assert 1.0 < params.crop.size / (x1 - x0) < 2.5
