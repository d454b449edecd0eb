"""Drawing with less memory: the same picture, or one that is nearly the same."""

from pathlib import Path

import numpy as np
import pytest
import torch

from diffpc.errors import UsageError
from diffpc.loading import load_pipeline
from diffpc.memory import OFFLOAD, check_modes
from diffpc.pipeline import DiffPCPipeline

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
    with pytest.raises(UsageError, match="on the cpu choose from: tiling, fp8"):
        check_modes(("model",), cpu)
