"""Bases in every form that is published; see `tests.published` for how the files are made."""

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from diffusers import StableDiffusionXLPipeline
from torch import Tensor, nn

from diffpc.base import load_base
from diffpc.changes import Changes
from diffpc.errors import InputError
from diffpc.networks import ALIGNMENT
from diffpc.pipeline import DiffPCPipeline
from tests import published
from tests.pipelines import random_pipeline

NETWORKS = ("unet", "vae", "text_encoder", "text_encoder_2")


@pytest.fixture(scope="module")
def source() -> DiffPCPipeline:
    return random_pipeline()


@pytest.fixture(scope="module")
def folder(source: DiffPCPipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published.base_of(source, tmp_path_factory.mktemp("base") / "plain")


@pytest.fixture(scope="module")
def state(source: DiffPCPipeline) -> dict[str, Tensor]:
    return published.original(source)


@pytest.fixture(scope="module")
def file(state: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published.write(state, tmp_path_factory.mktemp("file") / "sd_xl.safetensors")


def assert_same(found: StableDiffusionXLPipeline, source: DiffPCPipeline, half: bool = False) -> None:
    for name in NETWORKS:
        expected, own = getattr(source, name).state_dict(), getattr(found, name).state_dict()
        assert own.keys() == expected.keys(), name
        for key, value in own.items():
            wanted = expected[key].half().to(value.dtype) if half else expected[key]
            assert torch.equal(value, wanted), (name, key)
            assert value.data_ptr() % ALIGNMENT == 0, (name, key)
        assert not getattr(found, name).training


def test_names_of_the_original_layout(state: dict[str, Tensor]) -> None:
    """Some as they stand in the published file, on either side of each rule that made them."""
    for name in (
        "model.diffusion_model.input_blocks.3.0.in_layers.2.weight",
        "model.diffusion_model.input_blocks.5.1.transformer_blocks.0.attn2.to_k.weight",
        "model.diffusion_model.middle_block.1.proj_in.weight",
        "model.diffusion_model.output_blocks.1.2.conv.weight",
        "model.diffusion_model.label_emb.0.0.bias",
        "first_stage_model.decoder.up.3.upsample.conv.weight",
        "first_stage_model.encoder.down.2.block.0.nin_shortcut.weight",
        "first_stage_model.quant_conv.weight",
        "conditioner.embedders.0.transformer.text_model.encoder.layers.0.self_attn.q_proj.weight",
        "conditioner.embedders.1.model.transformer.resblocks.0.attn.in_proj_weight",
        "conditioner.embedders.1.model.text_projection",
    ):
        assert name in state


def test_full_size_has_the_published_number_of_tensors() -> None:
    """2515 in sd_xl_base_1.0.safetensors: 1680 of the UNet, 248 of the VAE, 197 + 390 of the text encoders."""
    from diffpc.diffusion.backbone import build
    from diffpc.presets import sdxl

    with torch.device("meta"):
        parts = build(sdxl().backbone)
        counts = [
            len(published.unet_original(parts.unet)),
            len(published.vae_original(parts.vae)),
            len(parts.text_encoder.state_dict()) + 1,
            len(published.open_clip(parts.text_encoder_2)),
        ]
    assert counts == [1680, 248, 197, 390] and sum(counts) == 2515


def test_a_single_file(file: Path, folder: Path, source: DiffPCPipeline) -> None:
    found = load_base(str(file), torch.float32, folder)
    assert_same(found, source)
    assert found.scheduler.config["prediction_type"] == "epsilon"


def test_a_single_file_in_half_precision(
    state: dict[str, Tensor], folder: Path, source: DiffPCPipeline, tmp_path: Path
) -> None:
    path = published.write(state, tmp_path / "half.safetensors", torch.float16)
    assert_same(load_base(str(path), torch.float32, folder), source, half=True)


def test_configs_of_the_assets_describe_a_single_file(
    file: Path, folder: Path, source: DiffPCPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIFFPC_ASSETS", str(tmp_path))
    with pytest.raises(InputError, match="diffpc assets fetch sdxl"):
        load_base(str(file), torch.float32)
    (tmp_path / "sdxl").symlink_to(folder, target_is_directory=True)
    assert_same(load_base(str(file), torch.float32), source)


@pytest.mark.parametrize(("variant", "shard"), [("fp16", "10GB"), (None, "1MB"), ("fp16", "1MB")])
def test_folders(source: DiffPCPipeline, tmp_path: Path, variant: str | None, shard: str) -> None:
    folder = published.base_of(source, tmp_path / "base", variant, shard)
    unet = sorted(path.name for path in (folder / "unet").glob("*.safetensors*"))
    assert (len(unet) > 2) == (shard == "1MB") and all(
        ("fp16" in name) == (variant is not None) for name in unet
    )
    assert_same(load_base(str(folder), torch.float32), source)


def test_a_missing_shard(source: DiffPCPipeline, tmp_path: Path) -> None:
    folder = published.base_of(source, tmp_path / "base", shard="1MB")
    shard = sorted((folder / "unet").glob("*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(InputError, match=f"{shard.name} is missing"):
        load_base(str(folder), torch.float32)
    index = folder / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"x": "../../secret.safetensors"}}))
    with pytest.raises(InputError, match="expected files beside it"):
        load_base(str(folder), torch.float32)


def without(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name: value for name, value in state.items() if not name.startswith(prefix)}


@pytest.mark.parametrize("form", ["folder", "file", "diffusers file"])
def test_a_fine_tune_without_a_vae(
    state: dict[str, Tensor], folder: Path, source: DiffPCPipeline, tmp_path: Path, form: str
) -> None:
    path = published.write(without(state, "first_stage_model."), tmp_path / "style.safetensors")
    with pytest.raises(InputError, match=r"holds no vae .*pass one as --vae"):
        load_base(str(path), torch.float32, folder)
    vae = folder / "vae"
    if form == "file":
        vae = published.write(published.vae_original(source.vae), tmp_path / "vae.safetensors")
    elif form == "diffusers file":
        vae = vae / "diffusion_pytorch_model.safetensors"
    assert_same(load_base(str(path), torch.float32, folder, Changes(vae=vae)), source)


def test_another_vae_keeps_its_config(folder: Path, tmp_path: Path) -> None:
    """So that one made for float16 is not drawn with in float32."""
    other = random_pipeline(seed=1).vae
    other.register_to_config(force_upcast=False)
    other.save_pretrained(tmp_path)
    found = load_base(str(folder), torch.float32, changes=Changes(vae=tmp_path)).vae
    assert torch.equal(found.encoder.conv_in.weight, other.encoder.conv_in.weight)
    assert found.config["force_upcast"] is False


@pytest.mark.parametrize("form", ["file", "original", "folder"])
def test_another_unet(file: Path, folder: Path, tmp_path: Path, form: str) -> None:
    """As SDXL-Lightning's: the base's may be missing."""
    other = random_pipeline(seed=1).unet
    place = tmp_path / "sdxl_lightning_4step_unet.safetensors"
    if form == "folder":
        other.save_pretrained(place := tmp_path / "unet")
    else:
        names = other.state_dict()
        if form == "original":
            names = {
                f"model.diffusion_model.{name}": value
                for name, value in published.unet_original(other).items()
            }
        published.write(names, place)
    rest = published.write(
        without(safetensors.torch.load_file(file), "model.diffusion_model."), tmp_path / "rest.safetensors"
    )
    for base, configs in ((folder, None), (rest, folder)):
        found = load_base(str(base), torch.float32, configs, Changes(unet=place)).unet.state_dict()
        assert all(torch.equal(found[name], value) for name, value in other.state_dict().items())


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["lora_unet_down_blocks_0_resnets_0_conv1.lora_down.weight"], "is a LoRA; pass it as --lora"),
        (["conv_in.weight", "down_blocks.0.resnets.0.conv1.weight"], "pass it as --unet"),
        (["cond_stage_model.transformer.x", "model.diffusion_model.x"], "Stable Diffusion 1 or 2"),
        (["conditioner.embedders.0.model.x", "model.diffusion_model.x"], "refiner"),
        (["x"], "holds no unet"),
    ],
)
def test_what_is_no_base(folder: Path, tmp_path: Path, names: list[str], said: str) -> None:
    path = published.write({name: torch.zeros(1) for name in names}, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match=said):
        load_base(str(path), torch.float32, folder)


@pytest.mark.parametrize(
    "name",
    [
        "model.diffusion_model.input_blocks.1.0.in_layers.2.weight",
        "first_stage_model.decoder.conv_in.weight",
        "conditioner.embedders.0.transformer.text_model.final_layer_norm.weight",
        "conditioner.embedders.1.model.ln_final.weight",
    ],
)
def test_a_single_file_that_lacks_a_tensor(
    state: dict[str, Tensor], folder: Path, tmp_path: Path, name: str
) -> None:
    path = published.write(without(state, name), tmp_path / "x.safetensors")
    with pytest.raises(InputError, match=r"lacks weights|missing|cannot be loaded"):
        load_base(str(path), torch.float32, folder)


def test_a_unet_of_other_sizes(folder: Path, tmp_path: Path) -> None:
    state = nn.Linear(2, 2).state_dict()
    path = published.write(state, tmp_path / "unet.safetensors")
    with pytest.raises(InputError, match="do not fit the model"):
        load_base(str(folder), torch.float32, changes=Changes(unet=path))
