"""Weights come back as they were saved, or not at all."""

import hashlib
import re
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from diffpc import weights
from diffpc.errors import InputError


@pytest.fixture
def module() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


@pytest.fixture
def saved(module: nn.Module, tmp_path: Path) -> Path:
    return weights.save_weights(tmp_path / "net", module.state_dict(), {"width": 4})


def test_round_trip(module: nn.Module, saved: Path) -> None:
    fresh = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    weights.load_into(fresh, saved.parent)
    expected = module.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in fresh.state_dict().items())
    assert weights.load_config(saved) == {"width": 4}
    assert sorted(path.name for path in saved.parent.iterdir()) == ["config.json", "model.safetensors"]


def test_saving_is_deterministic(module: nn.Module, saved: Path, tmp_path: Path) -> None:
    again = weights.save_weights(tmp_path / "again", module.state_dict(), {"width": 4})
    assert weights.sha256(again) == weights.sha256(saved)


def test_the_header_s_texts_are_read_without_the_tensors(saved: Path, tmp_path: Path) -> None:
    path = tmp_path / "one.safetensors"
    safetensors.torch.save_file({"x": torch.zeros(2)}, path, metadata={"made": "here"})
    assert weights.weight_metadata(path) == {"made": "here"}
    assert weights.weight_metadata(saved) == {}
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="is not a whole safetensors file"):
        weights.weight_metadata(path)


def test_half_on_disk_is_float32_in_memory(module: nn.Module, tmp_path: Path) -> None:
    path = weights.save_weights(tmp_path, weights.half(module.state_dict()), {})
    on_disk, in_memory = weights.load_weights(path, dtype=None), weights.load_weights(path)
    assert on_disk["0.weight"].dtype == torch.float16
    assert in_memory["0.weight"].dtype == torch.float32
    assert in_memory["1.num_batches_tracked"].dtype == torch.int64
    weights.load_into(module, path)
    assert next(module.parameters()).dtype == torch.float32


def test_sha256_is_the_usual_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    assert weights.sha256(tmp_path / "file") == hashlib.sha256(b"abc").hexdigest()
    with pytest.raises(InputError, match="cannot be read"):
        weights.sha256(tmp_path / "none")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=re.escape(f"{tmp_path / 'none.safetensors'}: no such weight file")):
        weights.load_weights(tmp_path / "none.safetensors")
    with pytest.raises(InputError, match=r"config\.json: cannot be read"):
        weights.load_config(tmp_path)


@pytest.mark.parametrize("cut", [0, 5, 100, -1])
def test_truncated_file(saved: Path, cut: int) -> None:
    saved.write_bytes(saved.read_bytes()[:cut])
    with pytest.raises(
        InputError, match=r"model\.safetensors: is not a whole safetensors file .*copy it again"
    ):
        weights.load_weights(saved)


@pytest.mark.parametrize("content", [b"\xff" * 64, b"plain text, no weights", b"\x80\x02}q\x00."])
def test_foreign_file(saved: Path, content: bytes) -> None:
    saved.write_bytes(content)
    with pytest.raises(InputError, match="is not a whole safetensors file"):
        weights.load_into(nn.Linear(1, 1), saved)


def test_git_lfs_pointer_has_its_own_remedy(saved: Path) -> None:
    saved.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(InputError, match="git lfs pull"):
        weights.load_weights(saved)


OTHERS = {
    "unexpected: 1.bias, 1.num_batches_tracked, 1.running_mean and 2 more": [nn.Linear(3, 4)],
    "missing: 2.bias, 2.weight": [nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(2, 2)],
    "wrong shape: 0.weight is [4, 3] instead of [4, 5]": [nn.Linear(5, 4), nn.BatchNorm1d(4)],
}


@pytest.mark.parametrize("message", OTHERS)
def test_weights_of_another_model_are_refused_untouched(saved: Path, message: str) -> None:
    other = nn.Sequential(*OTHERS[message])
    before = {key: value.clone() for key, value in other.state_dict().items()}
    with pytest.raises(InputError, match=re.escape(message)):
        weights.load_into(other, saved)
    assert all(torch.equal(value, before[key]) for key, value in other.state_dict().items())


@pytest.mark.parametrize("text", ["", "{", "[1]", "[" * 100_000, "\udcff"])
def test_broken_config(saved: Path, text: str) -> None:
    saved.with_name("config.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=r"config\.json: is not"):
        weights.load_config(saved.parent)
