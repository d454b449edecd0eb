"""Remembered hashes: what is hashed anew, and what is believed."""

import hashlib
import json
import os

import pytest

from diffpc.errors import InputError
from diffpc.external import digests
from diffpc.external.digests import NAME, digest
from diffpc.external.places import assets_root

LONG_AGO = 1_700_000_000


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Files of any size are remembered."""
    monkeypatch.setattr(digests, "LEAST", 0)


@pytest.fixture
def hashed(monkeypatch):
    """The files that were read, in their order."""
    read, compute = [], digests.sha256

    def counted(path):
        read.append(path.name)
        return compute(path)

    monkeypatch.setattr(digests, "sha256", counted)
    return read


def written(path, content=b"weights", when=LONG_AGO):
    path.write_bytes(content)
    os.utime(path, (when, when))
    return path


def sha256_of(content):
    return hashlib.sha256(content).hexdigest()


def test_a_file_is_read_once(tmp_path, hashed):
    path = written(tmp_path / "one.safetensors")
    assert [digest(path), digest(path)] == [sha256_of(b"weights")] * 2
    assert hashed == ["one.safetensors"]
    (tmp_path / "link").symlink_to(path)
    assert digest(tmp_path / "link") == sha256_of(b"weights") and len(hashed) == 1


def test_a_changed_file_has_another_hash(tmp_path, hashed):
    path = written(tmp_path / "one.safetensors")
    digest(path)
    assert digest(written(path, b"WEIGHTS")) == sha256_of(b"WEIGHTS")  # same size, and its time set back
    assert len(hashed) == 2


def test_a_touched_file_is_read_again(tmp_path, hashed):
    path = written(tmp_path / "one.safetensors")
    digest(path)
    os.utime(path, (LONG_AGO + 1, LONG_AGO + 1))
    assert digest(path) == sha256_of(b"weights") and len(hashed) == 2
    assert digest(path) == sha256_of(b"weights") and len(hashed) == 2


def test_a_replaced_file_is_read_again(tmp_path, hashed):
    path = written(tmp_path / "one.safetensors")
    digest(path)
    written(tmp_path / "other", b"WEIGHTS").replace(path)
    assert digest(path) == sha256_of(b"WEIGHTS") and len(hashed) == 2


def test_a_file_that_is_being_written_is_not_remembered(tmp_path, hashed):
    path = tmp_path / "one.safetensors"
    path.write_bytes(b"weights")
    digest(path)
    digest(path)
    assert len(hashed) == 2 and not (assets_root() / NAME).exists()


def test_small_files_are_not_remembered(tmp_path, monkeypatch):
    monkeypatch.setattr(digests, "LEAST", 8)
    assert digest(written(tmp_path / "small")) == sha256_of(b"weights")
    assert not (assets_root() / NAME).exists()


@pytest.mark.parametrize("spoilt", [b"", b"{", b"[]", b"\xff", b"[" * 100_000, b"entry", b"huge"])
def test_what_is_not_as_it_was_written_is_ignored(tmp_path, hashed, monkeypatch, spoilt):
    path, store = written(tmp_path / "one.safetensors"), assets_root() / NAME
    digest(path)
    entries = json.loads(store.read_text())
    if spoilt == b"entry":
        spoilt = json.dumps({name: [*entry[:-1], "not a hash"] for name, entry in entries.items()}).encode()
    if spoilt == b"huge":
        monkeypatch.setattr(digests, "MAX_BYTES", len(store.read_bytes()) - 1)
        spoilt = store.read_bytes()
    store.write_bytes(spoilt)
    assert digest(path) == sha256_of(b"weights") and len(hashed) == 2


def test_those_hashed_last_are_kept(tmp_path, hashed, monkeypatch):
    monkeypatch.setattr(digests, "KEPT", 2)
    paths = [written(tmp_path / name) for name in "abc"]
    for path in (*paths, *paths[1:], paths[0]):
        digest(path)
    assert hashed == ["a", "b", "c", "a"]


def test_a_folder_that_cannot_be_written_is_no_fault(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DIFFPC_ASSETS", str(tmp_path / "file" / "assets"))
    assert digest(written(tmp_path / "one.safetensors")) == sha256_of(b"weights")


def test_what_is_not_there(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        digest(tmp_path / "nowhere")
