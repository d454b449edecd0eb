import json
from dataclasses import replace

import pytest
import torch

from diffpc.errors import InputError, UsageError
from diffpc.face3d.light import LightFaceModel, load_light_data, load_light_model
from diffpc.face3d.render import render
from diffpc.files import asset
from diffpc.types import FaceParams

UPPER_LID, LOWER_LID = 386, 374  # the person's left eye
UPPER_LIP, LOWER_LIP = 13, 14
MOUTH_CORNER, BROW = 291, 334


@pytest.fixture(scope="module")
def model() -> LightFaceModel:
    return load_light_model()


def frontal(model: LightFaceModel, **scores: float) -> torch.Tensor:
    params = model.expressed(scores)
    return model.frontal(params.shape[None], params.expression[None])[0]


def test_sizes(model):
    assert model.mean.shape == (468, 3) and model.triangles.shape == (852, 3)
    assert len(model.expression_names) == model.sizes.expression == len(model.rest)
    assert asset("light_face/model.safetensors").stat().st_size < 1_000_000


def test_the_unit_is_the_inter_ocular_distance(model):
    assert (model.mean[263] - model.mean[33])[:2].norm() == pytest.approx(1.0, abs=0.02)


def test_triangles_face_the_viewer_and_use_every_vertex(model):
    a, b, c = (model.mean[model.triangles[:, k]] for k in range(3))
    assert (torch.linalg.cross(b - a, c - a)[:, 2] > 0).float().mean() > 0.95
    assert len(model.triangles.unique()) == 468


def test_scores_mean_what_they_say(model):
    rest = frontal(model)
    opening = lambda v, up, low: float(v[up, 1] - v[low, 1])  # noqa: E731
    assert (
        opening(frontal(model, jawOpen=0.6), UPPER_LIP, LOWER_LIP)
        > opening(rest, UPPER_LIP, LOWER_LIP) + 0.15
    )
    assert opening(frontal(model, eyeBlinkLeft=0.9), UPPER_LID, LOWER_LID) < 0.3 * opening(
        rest, UPPER_LID, LOWER_LID
    )
    smile = frontal(model, mouthSmileLeft=1.0)
    assert (
        smile[MOUTH_CORNER, 1] > rest[MOUTH_CORNER, 1] + 0.02
        and smile[MOUTH_CORNER, 0] > rest[MOUTH_CORNER, 0]
    )
    assert frontal(model, browOuterUpLeft=1.0)[BROW, 1] > rest[BROW, 1] + 0.02


def test_eyes_and_open_mouth_are_holes(model):
    params = model.expressed({"jawOpen": 0.7})
    found = model.vertices(params)
    picture = render(found.projected, model.triangles, 128, 128, found.world)[0]
    middle = ((found.projected[0, UPPER_LIP] + found.projected[0, LOWER_LIP])[:2] / 2 + 1) * 64
    x, y = (int(value) for value in middle)
    assert picture[y, x] == 0 and picture.max() > 0.7


def test_projection_is_smirks(model):
    params = replace(model.expressed({}), camera=torch.tensor([2.0, 0.1, -0.2]))
    found = model.vertices(params)
    world, projected = found.world[0], found.projected[0]
    assert torch.allclose(projected[:, 0], 2 * (world[:, 0] + 0.1))
    assert torch.allclose(projected[:, 1], -2 * (world[:, 1] - 0.2))
    assert torch.allclose(projected[:, 2], 10 - 2 * world[:, 2])


def test_gradients_reach_every_input(model):
    inputs = [
        torch.full((1, n), 0.1, requires_grad=True) for n in (model.sizes.shape, model.sizes.expression, 3, 3)
    ]
    model(*inputs).projected.square().sum().backward()
    assert all(value.grad is not None and value.grad.abs().sum() > 0 for value in inputs)


def test_foreign_parameters_are_refused(model):
    params: FaceParams = replace(model.expressed({}), jaw=torch.zeros(3))
    with pytest.raises(InputError, match="3 jaw coefficients"):
        model.vertices(params)


def test_unknown_scores_are_refused(model):
    with pytest.raises(UsageError, match=r"cannot show 'smirk'.*jawOpen"):
        model.expressed({"smirk": 1.0})


def test_a_broken_file_is_refused(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(asset("light_face/model.safetensors").read_bytes())
    (tmp_path / "config.json").write_text(json.dumps({"expression_names": ["jawOpen"]}))
    with pytest.raises(InputError, match="not a light face model"):
        load_light_data(tmp_path)
