import pytest
import torch
from safetensors.torch import save_file

from diffpc.external.whole import fault_of


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(3, 5), "b": torch.ones(7)}, path, {"note": "x"})
    return path


def test_whole_files_have_no_fault(tmp_path, weights):
    torch.save({"a": torch.zeros(3)}, tmp_path / "model.pt")
    (tmp_path / "config.json").write_text("{}")
    assert [fault_of(weights), fault_of(tmp_path / "model.pt"), fault_of(tmp_path / "config.json")] == [
        None
    ] * 3


def test_safetensors_are_held_against_their_header(weights):
    content = weights.read_bytes()
    weights.write_bytes(content[:-1])
    assert fault_of(weights) == f"is cut short: {len(content) - 1} of {len(content)} bytes"
    weights.write_bytes(content + b"xx")
    assert fault_of(weights) == "has 2 bytes too many"
    weights.write_bytes(content[:30])
    assert "do not hold its header" in fault_of(weights)
    weights.write_bytes(content[:8] + b"x" * (len(content) - 8))
    assert fault_of(weights) == "is no safetensors file: its header cannot be read"
    weights.write_bytes(b"\xff" * 100)
    assert fault_of(weights) == "is no safetensors file"
    weights.write_bytes(b"\x02\0\0\0\0\0\0\0[]")
    assert fault_of(weights) == "is no safetensors file: its header cannot be read"


def test_another_name_may_decide(weights):
    weights.write_bytes(weights.read_bytes()[:-1])
    part = weights.rename(weights.with_suffix(".part"))
    assert fault_of(part) is None
    assert "cut short" in fault_of(part, "model.safetensors")


def test_a_checkpoint_without_its_end_is_cut_short(tmp_path):
    path = tmp_path / "model.pt"
    torch.save({"a": torch.zeros(3000)}, path)
    path.write_bytes(path.read_bytes()[:-200])
    assert fault_of(path) == "is cut short: a zip file without its end"


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a Git LFS pointer, not the file"),
        (b"\n <!DOCTYPE html><title>Google Drive</title>", "is a web page, not the file"),
        (b"<HTML>", "is a web page, not the file"),
    ],
)
def test_what_downloads_leave_behind_is_named(tmp_path, content, fault):
    (tmp_path / "model.onnx").write_bytes(content)
    assert fault_of(tmp_path / "model.onnx") == fault
    assert fault_of(tmp_path) is not None  # a folder
