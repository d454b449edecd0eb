"""An adapter's file gives back what was saved, and refuses what is not an adapter's."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from diffpc.adapter_file import ADAPTER, ENTRY, OPTIONAL, describe_adapter, read_adapter, save_adapter
from diffpc.errors import InputError, UsageError
from diffpc.loading import load_adapter, load_pipeline
from diffpc.pipeline import DiffPCPipeline
from diffpc.presets import ablations, sdxl, tiny
from diffpc.weights import weight_metadata
from tests.pipelines import random_pipeline
from tests.test_pipeline_forms import ROWS, image, seeing, trained_pipeline

Changed = Callable[[Callable[[dict[str, Any]], Any]], Path]


@pytest.fixture(scope="module")
def pipeline() -> DiffPCPipeline:
    """With all the parts there are."""
    return trained_pipeline("ip_adapter")


@pytest.fixture(scope="module")
def saved(pipeline: DiffPCPipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("adapter") / "adapter.safetensors"
    save_adapter(pipeline, path)
    return path


@pytest.fixture
def changed(saved: Path, tmp_path: Path) -> Changed:
    """The file with another description."""

    def write(change: Callable[[dict[str, Any]], Any]) -> Path:
        described = json.loads(weight_metadata(saved)[ENTRY])
        change(described)
        return written(safetensors.torch.load_file(saved), tmp_path, json.dumps(described))

    return write


def written(tensors: dict[str, torch.Tensor], folder: Path, text: str) -> Path:
    path = folder / "changed.safetensors"
    safetensors.torch.save_file(tensors, path, metadata={ENTRY: text})
    return path


def plain(config: Any) -> Any:
    """As JSON gives it back."""
    return json.loads(json.dumps({key: value for key, value in config.items() if not key.startswith("_")}))


@pytest.mark.parametrize("row", ROWS)
def test_every_form_comes_back_bit_for_bit(row: str, tmp_path: Path) -> None:
    pipeline = trained_pipeline(row)
    pipeline.register_to_config(defaults={"steps": 5, "guidance": 2.5})
    save_adapter(pipeline, tmp_path / "a.safetensors")
    found = read_adapter(tmp_path / "a.safetensors", torch.float32)
    assert set(found.parts) == {*ADAPTER, *(OPTIONAL if row == "ip_adapter" else ())}
    for name, part in found.parts.items():
        original = getattr(pipeline, name)
        assert type(part) is type(original) and plain(part.config) == plain(original.config)
        states = part.state_dict(), original.state_dict()
        assert list(states[0]) == list(states[1])
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
        assert not part.training and all(one.requires_grad for one in part.parameters())
    assert found.faces == plain(asdict(tiny().faces)) and found.defaults == {"steps": 5, "guidance": 2.5}


def test_the_file_has_the_networks_own_names(pipeline: DiffPCPipeline, saved: Path) -> None:
    tensors = safetensors.torch.load_file(saved)
    assert torch.equal(tensors["id_encoder.queries"], pipeline.id_encoder.queries)
    assert {name.split(".")[0] for name in tensors} == {*ADAPTER, *OPTIONAL}
    described = json.loads(weight_metadata(saved)[ENTRY])
    assert list(weight_metadata(saved)) == [ENTRY]
    assert sorted(described) == ["defaults", "faces", "format", "parts"] and described["format"] == 1
    assert described["parts"]["id_encoder"]["class"] == "IDEncoder"
    assert described["faces"]["detector"] == "dlib"


def test_the_same_adapter_gives_the_same_bytes(saved: Path, tmp_path: Path) -> None:
    save_adapter(trained_pipeline("ip_adapter"), tmp_path / "a.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == saved.read_bytes()
    again = load_adapter(saved, random_pipeline(seed=1))
    save_adapter(again, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == saved.read_bytes()


def test_nothing_tells_where_the_weights_came_from(random_model: Path, tmp_path: Path) -> None:
    save_adapter(load_pipeline(str(random_model)), tmp_path / "a.safetensors")
    assert str(random_model).encode() not in (tmp_path / "a.safetensors").read_bytes()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_on_its_base_it_draws_the_image_of_the_pipeline_in_memory(dtype: torch.dtype, tmp_path: Path) -> None:
    """Products are of float32; the numbers are those of the file."""
    pipeline = trained_pipeline("global")
    for name in ADAPTER:
        torch.nn.Module.to(getattr(pipeline, name), dtype=dtype)
    save_adapter(pipeline, tmp_path / "a.safetensors")
    stored = safetensors.torch.load_file(tmp_path / "a.safetensors")
    assert {value.dtype for value in stored.values()} == {dtype}
    for name in ADAPTER:
        getattr(pipeline, name).float()
    loaded = seeing(load_adapter(tmp_path / "a.safetensors", random_pipeline()))
    assert np.array_equal(image(loaded), image(pipeline))


def test_numbers_are_converted_and_none_lies_in_the_file(saved: Path) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        parts = read_adapter(saved, dtype).parts.values()
        tensors = [value for part in parts for value in part.state_dict().values()]
        assert {value.dtype for value in tensors} == {dtype}
        assert all(value.data_ptr() % 64 == 0 for value in tensors)


def test_sdxls_largest_description_is_far_below_the_limit() -> None:
    from diffpc.adapter_file import MAX_DESCRIPTION, _description
    from diffpc.diffusion.adapter import build_adapter
    from diffpc.diffusion.backbone import build_unet

    settings = sdxl()
    with torch.device("meta"):
        unet = build_unet(settings.backbone)
        parts = build_adapter(ablations(settings.adapter)["ip_adapter"], unet)
    text = json.dumps({name: _description(part) for name, part in parts.items()})
    assert len(text) < MAX_DESCRIPTION / 10


def test_what_cannot_be_saved(pipeline: DiffPCPipeline, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"choose a name that ends in \.safetensors"):
        save_adapter(pipeline, tmp_path / "folder")
    (tmp_path / "plain").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        save_adapter(pipeline, tmp_path / "plain" / "a.safetensors")
    blind = random_pipeline()
    blind.register_to_config(faces={})
    with pytest.raises(UsageError, match="faces is incomplete; add: detector"):
        save_adapter(blind, tmp_path / "a.safetensors")
    assert [path.name for path in tmp_path.iterdir()] == ["plain"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda it: it.update(format=2), "has format 2, expected 1; use the diffpc that wrote it"),
        (lambda it: it.pop("format"), "has format None"),
        (lambda it: it.pop("parts"), "has no parts"),
        (lambda it: it.update(faces=[]), "has no faces"),
        (lambda it: it["faces"].update(eyes="two"), "unknown field 'eyes' in faces"),
        (lambda it: it["defaults"].update(steps="8"), "defaults.steps is '8', expected a whole number"),
        (lambda it: it["parts"].pop("id_ctrl"), "part 'id_ctrl' is missing"),
        (lambda it: it["parts"].update(unet={}), "part 'unet' is unknown"),
        (lambda it: it["parts"].update(id_ctrl={}), "part 'id_ctrl' has no config"),
        (lambda it: it["parts"].update(id_ctrl=7), "part 'id_ctrl' has no config"),
        (
            lambda it: it["parts"]["id_encoder"].update({"class": "OtherTokens"}),
            "id_encoder is of 'OtherTokens', expected one of: LocalTokens, GlobalTokens, ",
        ),
        (lambda it: it["parts"]["id_ctrl"].update({"class": []}), r"id_ctrl is of \[\], expected one of: IDCtrl"),
        (lambda it: it["parts"]["id_encoder"]["config"].update(layers=10**9), "more layers than the file has"),
        (
            lambda it: it["parts"]["id_ctrl"]["config"]["encoder"].update(transformer_layers_per_block=[1, 10**9]),
            "more layers than the file has",
        ),
        (lambda it: it["parts"]["id_injectors"]["config"].update(widths=[[8, 8, 8]] * 2000), "more layers"),
        (lambda it: it["parts"]["id_encoder"]["config"].update(depth=3), "id_encoder cannot be built"),
        (lambda it: it["parts"]["id_encoder"]["config"].pop("width"), "id_encoder cannot be built"),
        (lambda it: it["parts"]["id_encoder"]["config"].update(heads=0), "id_encoder cannot be built"),
        (lambda it: it["parts"]["id_encoder"]["config"].update(heads=7), "id_encoder cannot be built"),
        (lambda it: it["parts"]["id_encoder"]["config"].update(width="wide"), "id_encoder cannot be built"),
        (lambda it: it["parts"]["id_injectors"]["config"].update(widths=[[1]]), "id_injectors cannot be built"),
        (
            lambda it: it["parts"]["id_ctrl"]["config"]["encoder"].update(down_block_types=["Odd"] * 3),
            "id_ctrl cannot be built",
        ),
        (lambda it: it["parts"]["id_encoder"]["config"].update(tokens=31), "wrong shape: id_encoder.queries is"),
        (lambda it: it["parts"]["id_encoder"]["config"].update(layers=1), "unexpected: id_encoder.decoder.layers.1"),
        (lambda it: it["parts"]["id_encoder"]["config"].update(layers=9), "missing: id_encoder.decoder.layers."),
    ],
)  # fmt: skip
def test_a_description_that_does_not_fit_is_one_line(changed: Changed, change: Any, message: str) -> None:
    path = changed(change)
    with pytest.raises(InputError, match=message) as caught:
        read_adapter(path, torch.float32)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda it: it.pop("id_encoder.queries"), "missing: id_encoder.queries"),
        (lambda it: it.update(more=torch.zeros(1)), "unexpected: more"),
        (
            lambda it: it.update({"id_encoder.queries": torch.zeros(1, 2, 3)}),
            r"wrong shape: id_encoder.queries is \[1, 2, 3\] instead of \[1, 32, 256\]",
        ),
        (
            lambda it: it.update({"id_encoder.queries": torch.zeros(1, 32, 256, dtype=torch.int64)}),
            "id_encoder.queries is torch.int64, expected floating point",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_one_line(saved: Path, tmp_path: Path, change: Any, message: str) -> None:
    tensors = safetensors.torch.load_file(saved)
    change(tensors)
    path = written(tensors, tmp_path, weight_metadata(saved)[ENTRY])
    with pytest.raises(InputError, match=message):
        read_adapter(path, torch.float32)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
        ("[]", "is not a JSON object"),
        (" " * 300_000, "has 300000 characters"),
    ],
)
def test_a_description_that_is_none(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        describe_adapter(written({"x": torch.zeros(1)}, tmp_path, text))


def test_other_and_damaged_files(saved: Path, random_model: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(saved.read_bytes()[:-1])
    with pytest.raises(InputError, match="is not a whole safetensors file"):
        read_adapter(cut, torch.float32)
    with pytest.raises(InputError, match="no such weight file"):
        read_adapter(tmp_path / "nothing.safetensors", torch.float32)
    other = next((random_model / "unet").glob("*.safetensors"))
    with pytest.raises(
        InputError, match="holds no adapter of Diff-PC; give a file that `diffpc export` wrote"
    ):
        load_pipeline(str(other), base=str(random_model))
