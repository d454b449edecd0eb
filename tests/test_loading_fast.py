"""LoRAs in every published form, and models that draw in few steps: schedules, defaults, records, replays."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, LCMScheduler

from diffpc import cli
from diffpc.adapter_file import save_adapter
from diffpc.changes import Changes, Lora
from diffpc.errors import UsageError
from diffpc.loading import load_pipeline
from diffpc.pipeline import DiffPCPipeline
from diffpc.portrait import PortraitSettings
from diffpc.provenance import read_settings
from tests import published
from tests.pipelines import random_pipeline


@pytest.fixture(scope="module")
def source() -> DiffPCPipeline:
    return random_pipeline()


@pytest.fixture(scope="module")
def place(source: DiffPCPipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter, a base that predicts noise, and distilled weights under their published names."""
    folder = tmp_path_factory.mktemp("fast")
    save_adapter(source, folder / "adapter.safetensors")
    published.base_of(source, folder / "base")
    published.write(
        random_pipeline(seed=1).unet.state_dict(), folder / "sdxl_lightning_2step_unet.safetensors"
    )
    for name in ("sdxl_lightning_4step_lora", "Hyper-SDXL-2steps-lora", "lcm_lora_sdxl"):
        published.write(published.lora(source, "kohya", scale=0.01), folder / f"{name}.safetensors")
    return folder


def loaded(place: Path, **changes: object) -> DiffPCPipeline:
    return load_pipeline(
        str(place / "adapter.safetensors"), str(place / "base"), "cpu", changes=Changes(**changes)
    )


@pytest.mark.parametrize("form", ["kohya", "kohya-original", "diffusers", "peft"])
def test_loras_of_every_form_are_their_product(
    place: Path, source: DiffPCPipeline, tmp_path: Path, form: str
) -> None:
    """The layers' outputs are those of W + 0.5 (alpha / rank) B A, and of a second LoRA on top."""
    files = [
        published.write(published.lora(source, form, seed), tmp_path / f"{seed}.safetensors")
        for seed in (0, 1)
    ]
    found = loaded(place, loras=(Lora(files[0], 0.5), Lora(files[1], -2.0)))
    first, second = (published.lora(source, "peft", seed) for seed in (0, 1))
    wanted = published.merged(source, first, 0.5)
    plain = source.unet.state_dict()
    for name, value in published.merged(source, second, -2.0).items():
        wanted[name] = wanted[name] + value - plain[name]
    for name in published.LORA_LAYERS:
        layer = source.unet.get_submodule(name)
        shape = (1, layer.weight.shape[1], *[4] * (layer.weight.ndim - 2))
        states = torch.randn(shape, generator=torch.Generator().manual_seed(3))
        before = layer.weight.data
        layer.weight.data = wanted[f"{name}.weight"]
        expected = layer(states)
        layer.weight.data = before
        assert torch.allclose(found.unet.get_submodule(name)(states), expected, rtol=1e-4, atol=1e-3), name


def test_lightnings_unet(place: Path) -> None:
    """Its steps, no guidance, trailing timesteps that begin in pure noise, and noise predicted."""
    pipeline = loaded(place, unet=place / "sdxl_lightning_2step_unet.safetensors")
    assert pipeline.config["defaults"] == {"steps": 2, "guidance": 1.0}
    assert isinstance(pipeline.scheduler, DDIMScheduler)
    pipeline.scheduler.set_timesteps(2)
    assert pipeline.scheduler.timesteps.tolist() == [999, 499]
    assert pipeline.scheduler.config["prediction_type"] == "epsilon"
    pipeline.check(PortraitSettings(steps=2))
    with pytest.raises(UsageError, match="8 steps"):
        pipeline.check(PortraitSettings())


@pytest.mark.parametrize(
    ("name", "form", "timesteps"),
    [
        ("sdxl_lightning_4step_lora", DDIMScheduler, [999, 749, 499, 249]),
        ("Hyper-SDXL-2steps-lora", DDIMScheduler, [999, 499]),
        ("lcm_lora_sdxl", LCMScheduler, [999, 759, 499, 259]),
    ],
)
def test_distilled_loras(place: Path, name: str, form: type, timesteps: list[int]) -> None:
    pipeline = loaded(place, loras=(Lora(place / f"{name}.safetensors"),))
    pipeline.scheduler.set_timesteps(pipeline.config["defaults"]["steps"])
    assert type(pipeline.scheduler) is form and pipeline.scheduler.timesteps.tolist() == timesteps


def test_distilled_loras_need_a_base_that_predicts_noise(random_model: Path, place: Path) -> None:
    lora = (Lora(place / "lcm_lora_sdxl.safetensors"),)
    with pytest.raises(UsageError, match="this one has v_prediction"):
        load_pipeline(str(random_model), changes=Changes(loras=lora))
    with pytest.raises(UsageError, match="needs its weights"):
        load_pipeline(str(random_model), changes=Changes(fast="lcm"))


def draw(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    code = cli.main(["generate", *map(str, words), "--json"])
    captured = capsys.readouterr()
    return code, captured.out if code == 0 else captured.err


def test_the_choice_is_recorded_and_replayed(
    place: Path, astronaut_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    common = [
        "--reference",
        astronaut_path,
        "--prompt",
        "",
        "--model",
        "adapter.safetensors",
        "--base",
        "base",
    ]
    common += ["--vae", "base/vae", "--lora", "lcm_lora_sdxl.safetensors=0.5", "--output", "out.png"]
    code, said = draw(capsys, *common, "--guidance", 3)
    assert code == 2 and "guidance 3: lcm weights are distilled for 1 to 2" in said
    code, said = draw(capsys, *common, "--steps", 3)
    assert code == 0, said
    record = read_settings(place / "out.png").settings
    assert (record["fast"], record["steps"], record["guidance"]) == ("lcm", 3, 1.0)
    assert (record["lora"][0][0], record["lora_weights"]) == ("lcm_lora_sdxl.safetensors", [0.5])
    assert {name.split("/")[0] for name in json.loads(said)["weights"]} == {
        "adapter.safetensors", "base", "vae", "lora"
    }  # fmt: skip
    (place / "vae").symlink_to(place / "base" / "vae", target_is_directory=True)
    code, said = draw(capsys, "--replay", "out.png", "--reference", astronaut_path)
    assert code == 0, said
    assert (place / "out-replay.png").read_bytes() == (place / "out.png").read_bytes()
    code, said = draw(capsys, "--replay", "out.png", "--reference", astronaut_path, "--steps", 9)
    assert code == 2 and "9 steps: these lcm weights" in said
