from dataclasses import replace

import pytest
import torch

from diffpc.errors import InputError, UsageError
from diffpc.face3d.flame import FlameData, FlameLayer
from diffpc.face3d.model import FACE_MODELS, FlameFaceModel, load_face_model


def small_flame() -> FlameFaceModel:
    """FLAME's sizes with a handful of random vertices."""
    random = torch.Generator().manual_seed(0)
    vertices = 12

    def noise(*size: int) -> torch.Tensor:
        return torch.randn(*size, generator=random) * 0.1

    data = FlameData(
        template=noise(vertices, 3),
        shape_basis=noise(vertices, 3, 300),
        expression_basis=noise(vertices, 3, 50),
        pose_basis=noise(vertices, 3, 36),
        eyelid_basis=noise(2, vertices, 3),
        joint_regressor=torch.full((5, vertices), 1 / vertices),
        skinning=torch.full((vertices, 5), 0.2),
        parents=torch.tensor([-1, 0, 1, 1, 1], dtype=torch.int32),
        faces=torch.arange(vertices, dtype=torch.int32).reshape(-1, 3),
        face_vertices=torch.arange(vertices, dtype=torch.int32),
    )
    return FlameFaceModel(FlameLayer(data))


def models():
    return {"light": load_face_model("light"), "flame": small_flame()}


def test_every_name_is_covered():
    assert set(models()) == set(FACE_MODELS)


@pytest.mark.parametrize("name", sorted(FACE_MODELS))
def test_contract(name):
    model = models()[name]
    params = model.expressed({"jawOpen": 0.4, "eyeBlinkLeft": 0.5})
    found = model.vertices(params)
    again = model.vertices(params)
    assert found.world.shape == found.projected.shape and found.world.shape[0] == 1
    assert torch.equal(found.projected, again.projected)
    assert int(model.triangles.max()) < found.world.shape[1]
    assert (found.projected[..., 2] > 0).all()
    assert not torch.equal(found.world, model.vertices(model.expressed({})).world)
    with pytest.raises(InputError, match="shape coefficients"):
        model.vertices(replace(params, shape=torch.zeros(7)))
    with pytest.raises(UsageError, match="cannot show"):
        model.expressed({"telepathy": 1.0})


def test_flame_shows_no_smile():
    with pytest.raises(UsageError, match="FLAME model cannot show 'mouthSmileLeft'; it knows: jawOpen"):
        small_flame().expressed({"mouthSmileLeft": 1.0})


def test_unknown_models_are_named():
    with pytest.raises(UsageError, match="choose one of: flame, light"):
        load_face_model("candide")


def test_absent_flame_says_where_to_get_it(monkeypatch, tmp_path):
    monkeypatch.delenv("DIFFPC_ASSETS", raising=False)
    with pytest.raises(InputError, match=r"register at flame\.is\.tue\.mpg\.de"):
        load_face_model("flame")
    monkeypatch.setenv("DIFFPC_ASSETS", str(tmp_path))
    with pytest.raises(InputError, match=r"flame.safetensors is no file"):
        load_face_model("flame")
