"""Every row of the paper's Tables 4 and 5 draws, is saved and comes back, through the same pipeline."""

import json
from dataclasses import replace
from functools import lru_cache

import accelerate
import numpy as np
import pytest
import torch

from diffpc.adapter_file import save_adapter
from diffpc.diffusion.decoupled import IDAttention
from diffpc.errors import InputError
from diffpc.face3d.pose import Angles
from diffpc.face3d.predict import condition, posed
from diffpc.identity.forms import FORMS
from diffpc.identity.reference import ReferenceFeatures
from diffpc.loading import load_adapter, load_pipeline, model_place
from diffpc.pipeline import Identity, PortraitSettings
from diffpc.presets import ablations, tiny
from tests.diffusion.conftest import shaken
from tests.pipelines import noisy_skin, random_pipeline

ROWS = {
    row: one for row, one in ablations(tiny().adapter).items() if row != "full"
}  # that is test_pipeline.py
FAST = PortraitSettings(steps=2, seed=5, size=(64, 64))
OFF = replace(FAST, strength=0.0)


@lru_cache
def eyes():
    """They take seconds to load and are the same for all."""
    return random_pipeline().eyes


def seeing(pipeline):
    pipeline._eyes = eyes()
    return pipeline


def trained_pipeline(row):
    """A random pipeline whose adapter does something."""
    pipeline = seeing(random_pipeline(adapter=ROWS[row]))
    shaken(pipeline.id_injectors, 0.02)
    shaken(pipeline.id_ctrl, 0.01)
    if pipeline.id_attention is not None:
        shaken(pipeline.id_attention, 0.05)
    return pipeline


@pytest.fixture(scope="module", params=ROWS)
def row(request):
    return request.param


@pytest.fixture(scope="module")
def pipeline(row):
    return trained_pipeline(row)


@pytest.fixture(scope="module")
def saved(pipeline, tmp_path_factory):
    folder = tmp_path_factory.mktemp("forms")
    pipeline.save_pretrained(folder)
    return folder


def image(pipeline, settings=FAST, turned=1.0):
    """A portrait of a made-up person, or of the opposite one."""
    draw = torch.Generator().manual_seed(0)
    picture = np.zeros((4, 4, 3), np.uint8)
    vector = torch.nn.functional.normalize(torch.randn(1, 1, 128, generator=draw), dim=-1)
    patches = torch.randn(1, 64, 133, generator=draw)
    features = ReferenceFeatures(turned * vector, turned * patches, picture, picture)
    model = pipeline.eyes.model
    identity = Identity(features, posed(model, Angles(0.0, 0.0, 0.0)), noisy_skin(model))
    params = condition(identity.params, pose=posed(pipeline.eyes.model, Angles(15.0, 0.0, 0.0)))
    return pipeline(identity, params, "a woman", settings).portraits[0].image


@lru_cache
def base_image():
    """Without an adapter."""
    return image(seeing(random_pipeline()), OFF)


@pytest.fixture(scope="module")
def drawn(pipeline):
    return image(pipeline)


def test_identity_steers_the_image_and_strength_zero_is_the_base(pipeline, drawn):
    assert not np.array_equal(image(pipeline, turned=-1.0), drawn)
    assert not np.array_equal(drawn, base_image())
    assert np.array_equal(image(pipeline, OFF), base_image())


def test_a_saved_model_comes_back_in_its_form(row, pipeline, saved, drawn):
    loaded = seeing(load_pipeline(str(saved), device="cpu"))
    assert type(loaded.id_encoder) is type(pipeline.id_encoder) is FORMS[ROWS[row].identity]
    assert isinstance(loaded.id_attention, IDAttention) == (row == "ip_adapter")
    assert np.array_equal(image(loaded), drawn)


def test_a_saved_adapter_comes_back_in_its_form(pipeline, tmp_path):
    save_adapter(pipeline, tmp_path / "adapter.safetensors")
    loaded = load_adapter(model_place(str(tmp_path / "adapter.safetensors")), pipeline)
    for name in ("id_encoder", "id_ctrl", "id_injectors", "id_attention"):
        one, other = getattr(pipeline, name), getattr(loaded, name)
        assert type(one) is type(other)
        if one is not None:
            states = one.state_dict(), other.state_dict()
            assert list(states[0]) == list(states[1])
            assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_the_adapter_of_a_whole_model_goes_onto_another_base(row, saved):
    loaded = load_adapter(saved, random_pipeline(seed=1))
    assert type(loaded.id_encoder) is FORMS[ROWS[row].identity]
    assert (loaded.id_attention is not None) == (row == "ip_adapter")


def test_offloaded_it_draws_the_same_image(monkeypatch):
    """With the CPU as the device the hooks run as on a GPU; what a hook does not bring would raise."""
    offloaded = trained_pipeline("ip_adapter")
    guided = replace(FAST, guidance=3.0)
    wanted = image(offloaded, guided)
    offloaded.enable_model_cpu_offload(device="cpu")
    assert offloaded.unet._hf_hook.prev_module_hook.model is offloaded.id_attention
    assert np.array_equal(image(offloaded, guided), wanted)
    library = accelerate.cpu_offload

    def without_index(model, device, offload_buffers):  # accelerate takes cpu:0 for another device than cpu
        return library(model, torch.device(device.type), offload_buffers=offload_buffers)

    monkeypatch.setattr(accelerate, "cpu_offload", without_index)
    offloaded.remove_all_hooks()
    offloaded.enable_sequential_cpu_offload(device="cpu")
    assert np.array_equal(image(offloaded, guided), wanted)


def test_a_model_from_before_there_were_forms_still_loads(tmp_path):
    random_pipeline().save_pretrained(tmp_path)
    index = tmp_path / "model_index.json"
    components = json.loads(index.read_text())
    assert components.pop("id_attention") == [None, None]
    index.write_text(json.dumps(components))
    assert load_pipeline(str(tmp_path), device="cpu").id_attention is None


def test_a_lost_part_is_missed(tmp_path):
    pipeline = trained_pipeline("ip_adapter")
    pipeline.save_pretrained(tmp_path)
    (tmp_path / "id_attention").rename(tmp_path / "lost")
    with pytest.raises(InputError, match="id_attention: is missing"):
        load_adapter(tmp_path, pipeline)
    with pytest.raises(InputError, match="id_attention: is missing"):
        model_place(str(tmp_path))


def test_an_unknown_form_is_refused(tmp_path):
    pipeline = trained_pipeline("global")
    pipeline.save_pretrained(tmp_path)
    config = tmp_path / "id_encoder" / "config.json"
    config.write_text(config.read_text().replace("GlobalTokens", "OtherTokens"))
    with pytest.raises(InputError, match="'OtherTokens', expected one of: LocalTokens, GlobalTokens, "):
        load_adapter(tmp_path, pipeline)
