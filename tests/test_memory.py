"""Drawing with less memory: the same picture, or one that is nearly the same."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from diffpc import cli
from diffpc.changes import Changes, Lora
from diffpc.errors import UsageError
from diffpc.loading import load_pipeline
from diffpc.memory import OFFLOAD, check_modes, quantised
from diffpc.pipeline import DiffPCPipeline
from diffpc.provenance import read_settings
from tests.pipelines import write_lora

FP8 = torch.float8_e4m3fn


def latents(pipeline: DiffPCPipeline) -> torch.Tensor:
    """What the UNet and ID-Ctrl, with everything between them, make of one step."""
    from diffpc.diffusion.sample import Conditions, SampleSettings, denoise, initial_noise

    generator = torch.Generator().manual_seed(5)
    tokens = torch.randn(1, 32, 256, generator=generator)
    z_3d = torch.randn(1, 16, 16, 16, generator=generator)
    told = Conditions(pipeline.encode_prompt("a wood", 1), tokens, z_3d)
    settings = SampleSettings(steps=1, size=(128, 128))
    return denoise(pipeline.networks, told, None, initial_noise((16, 16, 16), [0]), settings)


@pytest.fixture(scope="module")
def plain(random_model: Path) -> DiffPCPipeline:
    return load_pipeline(str(random_model), device="cpu")


def test_tiles_change_nothing_where_one_is_enough(random_model: Path, plain: DiffPCPipeline) -> None:
    tiled = load_pipeline(str(random_model), device="cpu", memory=("tiling",))
    assert tiled.vae.use_tiling and tiled.vae.use_slicing
    estimate = torch.randn(2, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    both = zip(tiled.decode(estimate), plain.decode(estimate), strict=True)
    assert all(np.abs(one.astype(int) - other).max() <= 1 for one, other in both)


def test_fp8_keeps_what_is_sensitive_and_nearly_the_result(random_model: Path, plain: DiffPCPipeline) -> None:
    small = load_pipeline(str(random_model), device="cpu", memory=("fp8",))
    unet = dict(small.unet.named_parameters())
    assert unet["mid_block.attentions.0.transformer_blocks.0.attn1.to_q.weight"].dtype == FP8
    assert dict(small.id_ctrl.named_parameters())["mid_block.resnets.0.conv1.weight"].dtype == FP8
    for name in ("conv_in", "conv_out", "time_embedding.linear_1", "down_blocks.0.resnets.0.norm1"):
        assert unet[f"{name}.weight"].dtype == torch.float32, name
    assert {
        value.dtype for part in ("id_injectors", "id_encoder") for value in getattr(small, part).parameters()
    } == {torch.float32}
    found, wanted = latents(small), latents(plain)
    assert found.dtype == torch.float32 and not torch.equal(found, wanted)
    error = (found - wanted).square().mean() / wanted.square().mean()
    assert 0 < error < 0.01  # 20 dB: e4m3 has 3 bits of mantissa, random weights no structure


@pytest.fixture(scope="module")
def whole_numbers(random_model: Path) -> DiffPCPipeline:
    pytest.importorskip("torchao", reason="the extra int8 is not installed")
    return load_pipeline(str(random_model), device="cpu", memory=("int8",))


def test_int8_has_a_byte_for_a_number_and_a_scale_for_a_row(
    whole_numbers: DiffPCPipeline, plain: DiffPCPipeline
) -> None:
    small, names = dict(whole_numbers.unet.named_modules()), []
    for name, module in plain.unet.named_modules():
        weight = getattr(small[name], "weight", None)
        if quantised(module, name):
            rows, columns = module.weight.shape
            assert (weight.qdata.nbytes, weight.scale.nbytes) == (rows * columns, 4 * rows)
            step = weight.scale.reshape(rows, 1)
            assert ((weight.dequantize() - module.weight).abs() <= 0.51 * step).all()
            names.append(name)
        elif weight is not None:
            assert torch.equal(weight, module.weight), name
    assert len(names) > 50 and "mid_block.attentions.0.transformer_blocks.0.ff.net.2" in names
    assert not any("time" in name or "norm" in name for name in names)
    assert whole_numbers.unet.dtype == torch.float32


def test_int8_keeps_the_result_better_than_fp8(
    random_model: Path, whole_numbers: DiffPCPipeline, plain: DiffPCPipeline
) -> None:
    found, wanted = latents(whole_numbers), latents(plain)
    error = (found - wanted).square().mean() / wanted.square().mean()
    assert 0 < error < 1e-4  # 40 dB
    coarse = latents(load_pipeline(str(random_model), device="cpu", memory=("fp8",)))
    assert error < (coarse - wanted).square().mean() / wanted.square().mean()


def test_int8_leaves_a_lora_as_it_is(
    random_model: Path, whole_numbers: DiffPCPipeline, tmp_path: Path
) -> None:
    pytest.importorskip("peft", reason="the extra lora is not installed")
    lora = write_lora(load_pipeline(str(random_model), device="cpu"), tmp_path / "lora.safetensors")
    changes = Changes(loras=(Lora(lora, 0.5),))
    exact = latents(load_pipeline(str(random_model), device="cpu", changes=changes))
    small = load_pipeline(str(random_model), device="cpu", changes=changes, memory=("int8",))
    layer = small.unet.get_submodule("down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q")
    assert type(layer.lora_A["lora_0"].weight.data) is torch.Tensor
    assert type(layer.base_layer.weight).__name__ == "Int8Tensor"
    found, without = latents(small), latents(whole_numbers)
    error = (found - exact).square().mean()
    assert error < 1e-4 * exact.square().mean() and error < 0.1 * (without - exact).square().mean()


def test_int8_moves_as_a_whole(random_model: Path, whole_numbers: DiffPCPipeline) -> None:
    """The hooks of group offload, on the only device here; and a network that is sent elsewhere takes all along."""
    offloaded = load_pipeline(str(random_model), device="cpu", memory=("int8",))
    OFFLOAD["group"](offloaded, torch.device("cpu"))
    assert torch.equal(latents(offloaded), latents(whole_numbers))
    moved = load_pipeline(str(random_model), device="cpu", memory=("int8",)).unet.to("meta")
    weight = moved.get_submodule("mid_block.attentions.0.transformer_blocks.0.attn1.to_q").weight
    assert {weight.device.type, weight.qdata.device.type, weight.scale.device.type} == {"meta"}


def test_int8_is_recorded_and_drawn_again(
    random_model: Path, astronaut_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torchao", reason="the extra int8 is not installed")
    words = ["--reference", astronaut_path, "--model", random_model, "--device", "cpu"]
    first = [*words, "--prompt", "x", "--steps", 1, "--memory", "int8", "--output", tmp_path / "it.png"]
    assert cli.main(["generate", *map(str, first)]) == 0
    assert read_settings(tmp_path / "it.png").settings["memory"] == ["int8"]
    again = [*words, "--replay", tmp_path / "it.png", "--output", tmp_path / "again.png"]
    assert cli.main(["generate", *map(str, again)]) == 0
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "it.png").read_bytes()


def test_int8_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchao", None)
    with pytest.raises(UsageError, match=r"torchao is not installed; run: pip install 'diffpc\[int8\]'"):
        check_modes(("int8",), torch.device("cpu"))


def test_leaves_come_when_they_are_needed(random_model: Path, plain: DiffPCPipeline) -> None:
    """The hooks of group offload, on the only device here; every network of ours has them, or stays as a whole."""
    offloaded = load_pipeline(str(random_model), device="cpu")
    OFFLOAD["group"](offloaded, torch.device("cpu"))
    for name in ("unet", "id_ctrl", "id_injectors", "vae", "text_encoder", "text_encoder_2"):
        leaves = [
            part
            for part in getattr(offloaded, name).modules()
            if isinstance(part, torch.nn.Linear | torch.nn.Conv2d)
        ]
        assert leaves and all(hasattr(leaf, "_diffusers_hook") for leaf in leaves), name
    assert not any(hasattr(part, "_diffusers_hook") for part in offloaded.id_encoder.modules())
    assert torch.equal(latents(offloaded), latents(plain))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="offload needs a GPU, and there is none")
@pytest.mark.parametrize("mode", list(OFFLOAD))
def test_offload_draws_the_same(random_model: Path, mode: str) -> None:
    wanted = latents(load_pipeline(str(random_model), device="cuda"))
    found = latents(load_pipeline(str(random_model), device="cuda", memory=(mode,)))
    assert torch.equal(found.cpu(), wanted.cpu())


def test_modes_that_do_not_go_together() -> None:
    cpu = torch.device("cpu")
    check_modes(("fp8", "tiling"), cpu)
    check_modes(("fp8", "model"), torch.device("cuda"))
    with pytest.raises(UsageError, match="choose from: model, group, sequential, tiling, fp8"):
        check_modes(("less",), cpu)
    with pytest.raises(UsageError, match="exclude each other"):
        check_modes(("model", "group"), torch.device("cuda"))
    with pytest.raises(UsageError, match="fp8 int8: exclude each other"):
        check_modes(("fp8", "int8"), cpu)
    with pytest.raises(UsageError, match="on the cpu choose from: tiling, fp8, int8"):
        check_modes(("model",), cpu)
