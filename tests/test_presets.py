from dataclasses import asdict

import pytest
import torch

from diffpc.backends import load
from diffpc.diffusion.backbone import build
from diffpc.eyes import Eyes
from diffpc.face3d.model import FACE_MODELS
from diffpc.face3d.predict import PREDICTORS
from diffpc.faces.detect import DETECTORS
from diffpc.faces.embed import EMBEDDERS
from diffpc.faces.matte import MATTERS
from diffpc.identity.local import LOCAL_FEATURES
from diffpc.presets import PRESETS, ablations, sdxl, tiny


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_every_back_end_exists(preset):
    faces = preset().faces
    tables = {
        "detector": DETECTORS,
        "embedder": EMBEDDERS,
        "local_features": LOCAL_FEATURES,
        "predictor": PREDICTORS,
        "face_model": FACE_MODELS,
        "matter": MATTERS,
    }
    for name, table in tables.items():
        assert callable(load(name, getattr(faces, name), table))


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_heads_are_64_to_128_wide(preset):
    settings = preset()
    assert 64 <= settings.backbone.text_width // settings.adapter.heads <= 128


def test_the_paper_is_the_full_size():
    adapter = sdxl().adapter
    assert (adapter.tokens, adapter.layers, adapter.global_width, adapter.local_width) == (32, 4, 512, 1280)
    assert sdxl().faces.reference_scale == 1.3


def test_the_small_adapter_fits_the_small_eyes():
    tools = Eyes(tiny().faces).tools
    assert tools.local.width == tiny().adapter.local_width
    assert tiny().adapter.global_width == 128


def test_both_have_one_layout():
    with torch.device("meta"):
        layouts = [
            {name.split(".")[0] for name in build(preset().backbone).unet.state_dict()}
            for preset in PRESETS.values()
        ]
    assert layouts[0] == layouts[1]


def test_the_ablations_change_what_the_tables_change():
    full = sdxl().adapter
    rows = ablations(full)
    changed = {
        row: {name: value for name, value in asdict(one).items() if value != getattr(full, name)}
        for row, one in rows.items()
    }
    assert changed == {
        "local": {"identity": "local"},
        "global": {"identity": "global"},
        "concat": {"identity": "concat"},
        "ip_adapter": {"control": "ip_adapter", "injector": "additive"},
        "id_ctrl": {"injector": "additive"},
        "skin": {"skin": True},
        "full": {},
    }
