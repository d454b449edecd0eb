import json
from dataclasses import asdict

import pytest

from diffpc.errors import UsageError
from diffpc.pipeline import PortraitSettings
from diffpc.presets import PRESETS
from diffpc.settings import (
    AdapterSettings,
    BackboneSettings,
    FaceSettings,
    Framing,
    ModelSettings,
    VAESettings,
    from_dict,
)

FACES = {
    "detector": "dlib",
    "embedder": "dlib",
    "local_features": "dlib",
    "predictor": "light",
    "face_model": "light",
}


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
def test_presets_survive_json(preset):
    text = json.dumps(asdict(preset()))
    assert from_dict(ModelSettings, json.loads(text)) == preset()


def test_text_width_is_both_encoders_side_by_side():
    assert PRESETS["sdxl"]().backbone.text_width == 2048
    assert PRESETS["tiny"]().backbone.text_width == 256


def test_defaults_may_be_missing_and_lists_become_tuples():
    faces = from_dict(FaceSettings, {**FACES, "framing": {"height": [0, 1]}})
    assert faces.framing == Framing(height=(0.0, 1.0))
    assert isinstance(faces.framing.height[0], float)
    assert faces.matter == "grabcut"


def test_what_is_built_already_is_taken():
    assert from_dict(FaceSettings, {**FACES, "framing": Framing()}).framing == Framing()


def test_an_unknown_field_lists_the_valid_ones():
    with pytest.raises(
        UsageError, match=r"unknown field 'heigth' in FaceSettings\.framing; .*: height, x, y"
    ):
        from_dict(FaceSettings, {**FACES, "framing": {"heigth": [0, 1]}})


def test_missing_fields_are_named():
    with pytest.raises(UsageError, match="faces is incomplete; add: predictor, face_model"):
        from_dict(
            FaceSettings, {key: FACES[key] for key in ("detector", "embedder", "local_features")}, "faces"
        )


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("latent_channels", "4", r"VAESettings\.latent_channels is '4', expected a whole number"),
        ("latent_channels", 4.0, "expected a whole number"),
        ("latent_channels", True, "expected a whole number"),
        ("scaling_factor", "big", "is 'big', expected a number"),
        ("mid_block_add_attention", 1, "is 1, expected true or false"),
        ("block_out_channels", 64, "is 64, expected a list"),
        ("block_out_channels", [64, "x"], r"block_out_channels\[1\] is 'x', expected a whole number"),
    ],
)
def test_wrong_types_are_named(place, value, message):
    right = asdict(PRESETS["tiny"]().backbone.vae)
    with pytest.raises(UsageError, match=message):
        from_dict(VAESettings, {**right, place: value})


def test_choices_are_listed():
    right = asdict(PRESETS["tiny"]().adapter)
    with pytest.raises(
        UsageError, match="injector is 'best', expected one of: 'paper', 'gated', 'residual', 'a"
    ):
        from_dict(AdapterSettings, {**right, "injector": "best"})
    with pytest.raises(
        UsageError, match="identity is 'both', expected one of: 'local', 'global', 'concat', 'id_e"
    ):
        from_dict(AdapterSettings, {**right, "identity": "both"})
    with pytest.raises(UsageError, match="control is 'pose', expected one of: 'id_ctrl', 'ip_adapter'"):
        from_dict(AdapterSettings, {**right, "control": "pose"})
    with pytest.raises(UsageError, match="kernel is True, expected one of: 1, 3"):
        from_dict(AdapterSettings, {**right, "kernel": True})


def test_tuples_of_fixed_length_keep_it():
    right = asdict(PRESETS["tiny"]().backbone)
    wrong = {**right, "unet": {**right["unet"], "block_out_channels": [64, 128]}}
    with pytest.raises(UsageError, match=r"BackboneSettings\.unet\.block_out_channels is .* 3 values"):
        from_dict(BackboneSettings, wrong)


def test_a_nested_value_must_be_an_object():
    with pytest.raises(UsageError, match="vae is 3, expected the fields of VAESettings"):
        from_dict(BackboneSettings, {**asdict(PRESETS["tiny"]().backbone), "vae": 3})


def test_none_is_a_choice_where_the_field_says_so():
    assert from_dict(PortraitSettings, {"size": None}).size is None
    assert from_dict(PortraitSettings, {"size": [128, 64], "guidance": 2}).size == (128, 64)
    with pytest.raises(UsageError, match="size is 'big'"):
        from_dict(PortraitSettings, {"size": "big"})
    with pytest.raises(UsageError, match="steps is None, expected a whole number"):
        from_dict(PortraitSettings, {"steps": None})
