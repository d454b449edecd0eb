"""Models, bases, adapters and LoRAs from disk."""

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

from diffpc.adapter_file import ADAPTER, save_adapter
from diffpc.changes import Changes, Lora
from diffpc.errors import InputError, UsageError
from diffpc.files import asset
from diffpc.loading import (
    chosen_device,
    chosen_dtype,
    load_adapter,
    load_pipeline,
    model_place,
    native_size,
    place_of,
    weight_hashes,
)
from diffpc.loras import activate, adapter_names
from diffpc.pipeline import DiffPCPipeline
from diffpc.weights import half, load_weights
from tests.pipelines import random_pipeline, write_lora


@pytest.fixture(scope="module")
def loaded(random_model: Path) -> DiffPCPipeline:
    return load_pipeline(str(random_model))


@pytest.fixture(scope="module")
def adapter(loaded: DiffPCPipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("adapter") / "adapter.safetensors"
    save_adapter(loaded, path)
    return path


def same(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    one, other = first.state_dict(), second.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_a_folder_gives_back_what_was_saved(loaded: DiffPCPipeline) -> None:
    original = random_pipeline()
    for name in ("unet", "vae", "text_encoder", "text_encoder_2", *ADAPTER):
        assert same(getattr(loaded, name), getattr(original, name)), name
    assert loaded.config["faces"]["detector"] == "dlib" and loaded.config["defaults"] == {}
    assert not loaded.unet.training and not loaded.id_encoder.training


def test_weights_stored_as_float16_come_as_asked(random_model: Path, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "half"
    shutil.copytree(random_model, folder)
    for path in folder.rglob("*.safetensors"):
        safetensors.torch.save_file(half(load_weights(path)), path, metadata={"format": "pt"})
    pipeline = load_pipeline(str(folder), device="cpu", dtype="float32")
    assert {pipeline.unet.dtype, pipeline.vae.dtype, pipeline.id_ctrl.dtype, pipeline.text_encoder.dtype} == {
        torch.float32
    }


def test_an_adapter_on_another_base(adapter: Path, loaded: DiffPCPipeline, tmp_path: Path) -> None:
    """The base's parts are the base's, the adapter's the adapter's; the schedule is ours."""
    base = random_pipeline(seed=1)
    base.save_pretrained(tmp_path / "base")
    mixed = load_pipeline(str(adapter), base=str(tmp_path / "base"))
    assert same(mixed.unet, base.unet) and same(mixed.text_encoder_2, base.text_encoder_2)
    assert all(same(getattr(mixed, name), getattr(loaded, name)) for name in ADAPTER)
    assert mixed.scheduler.config["timestep_spacing"] == "trailing"
    assert mixed.scheduler.config["prediction_type"] == "v_prediction"
    assert mixed.config["faces"] == loaded.config["faces"]


def test_an_adapter_alone_needs_a_base(adapter: Path) -> None:
    assert native_size(model_place(str(adapter))) is None
    with pytest.raises(UsageError, match="pass --base"):
        load_pipeline(str(adapter))


def test_an_adapter_of_other_sizes_is_refused(adapter: Path) -> None:
    from dataclasses import replace

    from diffpc.diffusion.backbone import build_unet
    from diffpc.presets import tiny

    base = random_pipeline()
    settings = tiny().backbone
    base.unet = build_unet(replace(settings, unet=replace(settings.unet, block_out_channels=(64, 160, 192))))
    with pytest.raises(UsageError, match="widths of the decoder"):
        load_adapter(adapter, base)


def test_a_model_with_missing_weights_of_its_adapter_is_refused(
    loaded: DiffPCPipeline, tmp_path: Path
) -> None:
    loaded.save_pretrained(tmp_path)
    path = tmp_path / "id_encoder" / "diffusion_pytorch_model.safetensors"
    state = load_weights(path)
    del state["queries"]
    safetensors.torch.save_file(state, path, metadata={"format": "pt"})
    for load in (lambda: load_adapter(tmp_path, loaded), lambda: load_pipeline(str(tmp_path))):
        with pytest.raises(InputError, match="missing: queries"):
            load()


def test_loras_change_the_base(random_model: Path, loaded: DiffPCPipeline, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    files = [write_lora(loaded, tmp_path / f"{name}.safetensors") for name in ("one", "two")]
    pipeline = load_pipeline(str(random_model), changes=Changes(loras=tuple(map(Lora, files))))
    assert pipeline.get_active_adapters() == ["lora_0", "lora_1"]
    layer = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
    states = torch.randn(1, 3, loaded.unet.get_submodule(layer).in_features)
    plain = loaded.unet.get_submodule(layer)(states)
    assert not torch.allclose(pipeline.unet.get_submodule(layer)(states), plain)


def test_idle_loras_change_nothing(random_model: Path, loaded: DiffPCPipeline, tmp_path: Path) -> None:
    """Not even where one network has none, which the library's own switch refuses."""
    pytest.importorskip("peft")
    files = [write_lora(loaded, tmp_path / "text.safetensors", part="text_encoder")]
    pipeline = load_pipeline(str(random_model), changes=Changes(idle={"style_0": files}))
    found = pipeline.encode_prompt("a wood", 1)
    assert torch.equal(found.tokens, loaded.encode_prompt("a wood", 1).tokens)
    activate(pipeline, adapter_names("style_0", files))
    assert not torch.allclose(pipeline.encode_prompt("a wood", 1).tokens, found.tokens)
    activate(pipeline, [])
    assert torch.equal(pipeline.encode_prompt("a wood", 1).tokens, found.tokens)


def test_what_is_no_lora_is_refused(random_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    safetensors.torch.save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(InputError, match="holds no LoRA"):
        load_pipeline(str(random_model), changes=Changes(loras=(Lora(path),)))
    with pytest.raises(InputError, match="no such weight file"):
        load_pipeline(str(random_model), changes=Changes(loras=(Lora(tmp_path / "absent.safetensors"),)))


def test_names_of_devices_and_types() -> None:
    assert chosen_device("cpu") == torch.device("cpu")
    for name in ("gpu", "cuda:x", "cpu:7:1"):
        with pytest.raises(UsageError, match="unknown device"):
            chosen_device(name)
    with pytest.raises(UsageError, match="not available"):
        chosen_device("cuda:99")
    assert chosen_dtype("bfloat16", torch.device("cpu")) == torch.bfloat16
    assert chosen_dtype(None, torch.device("cpu")) == torch.float32
    assert chosen_dtype("float16", torch.device("cuda")) == torch.float16
    with pytest.raises(UsageError, match="float16 does not run on the cpu"):
        chosen_dtype("float16", torch.device("cpu"))


def test_a_models_own_size_follows_its_autoencoders_levels(tmp_path: Path) -> None:
    for part, values in {"unet": {"sample_size": 8}, "vae": {"block_out_channels": [1, 2, 3, 4, 5]}}.items():
        (tmp_path / part).mkdir()
        (tmp_path / part / "config.json").write_text(json.dumps(values))
    assert native_size(tmp_path) == (128, 128)
    (tmp_path / "vae" / "config.json").write_text("{}")
    assert native_size(tmp_path) is None


def test_names_of_places(random_model: Path) -> None:
    assert place_of(str(random_model)) == random_model
    assert place_of("tiny") == asset("tiny")
    assert native_size(random_model) == (128, 128)
    with pytest.raises(UsageError, match="unknown model"):
        place_of("nothing")
    with pytest.raises(InputError, match="not reachable on the hub"):
        place_of("someone/nothing")
    with pytest.raises(InputError, match="no such file or folder"):
        place_of("./nothing")


def test_hashes_cover_every_weight_file(random_model: Path) -> None:
    found = weight_hashes(random_model)
    assert len(found) == 7 and all(len(value) == 64 for value in found.values())
    one = random_model / "vae" / "diffusion_pytorch_model.safetensors"
    assert weight_hashes(one) == {one.name: found["vae/diffusion_pytorch_model.safetensors"]}
