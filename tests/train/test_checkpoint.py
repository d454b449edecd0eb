import json

import pytest
import torch

from diffpc.errors import InputError
from diffpc.train.checkpoint import load_at, load_latest, save

TENSORS = {"weight/a": torch.arange(6.0).view(2, 3), "optimiser/a/step": torch.tensor(3.0)}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_is_saved_is_loaded(tmp_path):
    path = save(tmp_path, 12, TENSORS, {"settings": {"batch": 4}}, keep=2)
    tensors, state, messages = load_latest(tmp_path)
    assert path.name == "checkpoint-0000000012" and names(path) == ["state.json", "tensors.safetensors"]
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    assert (state["images"], state["settings"], messages) == (12, {"batch": 4}, [])


def test_an_empty_folder_has_none(tmp_path):
    assert load_latest(tmp_path) is None
    assert load_latest(tmp_path / "not there") is None


def test_the_last_ones_are_kept(tmp_path):
    for images in (4, 8, 12, 100):
        save(tmp_path, images, TENSORS, {}, keep=2)
    assert names(tmp_path) == ["checkpoint-0000000012", "checkpoint-0000000100"]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("tensors.safetensors", b""),
        ("tensors.safetensors", None),
        ("state.json", b"{"),
        ("state.json", b"[]"),
        ("state.json", b"{}"),
        ("state.json", None),
    ],
)
def test_a_damaged_one_is_passed_over_with_a_message(tmp_path, file, content):
    save(tmp_path, 4, TENSORS, {}, keep=3)
    damaged = save(tmp_path, 8, TENSORS, {}, keep=3) / file
    if content is None:
        damaged.unlink()
    else:
        damaged.write_bytes(content)
    _, state, messages = load_latest(tmp_path)
    assert state["images"] == 4
    assert messages == ["checkpoint-0000000008 is damaged and was passed over"]


def test_damaged_newer_ones_never_push_out_the_new_one(tmp_path):
    for images in (8, 12):
        (save(tmp_path, images, TENSORS, {}, keep=2) / "state.json").write_text("{")
    save(tmp_path, 4, TENSORS, {}, keep=2)
    assert names(tmp_path) == ["checkpoint-0000000004"]


def test_nothing_whole_is_an_error_and_no_silent_fresh_start(tmp_path):
    (save(tmp_path, 8, TENSORS, {}, keep=2) / "state.json").write_text("{")
    with pytest.raises(InputError, match="all checkpoints are damaged"):
        load_latest(tmp_path)


def test_remains_of_a_killed_process_are_ignored_and_cleared(tmp_path):
    remains = tmp_path / ".checkpoint-0000000008.4711"
    remains.mkdir()
    (remains / "tensors.safetensors").write_bytes(b"half")
    assert load_latest(tmp_path) is None
    save(tmp_path, 4, TENSORS, {}, keep=2)
    assert names(tmp_path) == ["checkpoint-0000000004"]


def test_the_same_progress_replaces(tmp_path):
    save(tmp_path, 4, TENSORS, {"round": 1}, keep=2)
    save(tmp_path, 4, TENSORS, {"round": 2}, keep=2)
    assert json.loads((tmp_path / "checkpoint-0000000004" / "state.json").read_text())["round"] == 2
    assert names(tmp_path) == ["checkpoint-0000000004"]


def test_one_is_chosen_by_its_progress(tmp_path):
    for images in (0, 4, 8):
        save(tmp_path, images, {"weight/a": torch.tensor([float(images)])}, {}, keep=3)
    tensors, state = load_at(tmp_path, 4)
    assert tensors["weight/a"].item() == state["images"] == 4
    with pytest.raises(InputError, match="has no checkpoint after 5 images; choose one of: 0, 4, 8"):
        load_at(tmp_path, 5)
    with pytest.raises(InputError, match="choose one of: none"):
        load_at(tmp_path / "not there", 5)


def test_a_damaged_one_cannot_be_chosen(tmp_path):
    for images in (4, 8):
        path = save(tmp_path, images, TENSORS, {}, keep=2)
    (path / "tensors.safetensors").write_bytes(b"half")
    with pytest.raises(InputError, match="checkpoint-0000000008: is damaged"):
        load_at(tmp_path, 8)
    assert load_at(tmp_path, 4)[1]["images"] == 4
