import json
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch

from diffpc import sealed
from diffpc.errors import InputError, UsageError
from diffpc.eyes import Eyes
from diffpc.identity_file import (
    ENTRY,
    MAX_BYTES,
    check_identity,
    is_encrypted,
    load_identity,
    read_identity,
    save_identity,
)
from diffpc.loading import load_eyes
from diffpc.person import gathered


@pytest.fixture(scope="module")
def eyes():
    return load_eyes()


@pytest.fixture(scope="module")
def person(eyes, astronaut):
    return gathered([astronaut], ["me.jpg"], eyes)


@pytest.fixture(scope="module")
def path(eyes, person, tmp_path_factory):
    path = tmp_path_factory.mktemp("identity") / "me.identity.safetensors"
    save_identity(person, eyes, path)
    return path


def same(one, other):
    features = [(one.features, other.features, name) for name in ("global_vector", "patches")]
    params = [
        (one.params, other.params, name)
        for name in ("shape", "expression", "eyelid", "jaw", "rotation", "camera")
    ]
    assert all(torch.equal(getattr(a, name), getattr(b, name)) for a, b, name in features + params)
    assert all(
        np.array_equal(getattr(one.features, name), getattr(other.features, name))
        for name in ("aligned", "cut")
    )
    assert np.array_equal(one.skin.picture, other.skin.picture)
    assert torch.equal(one.skin.points, other.skin.points) and torch.equal(one.skin.facing, other.skin.facing)
    return (one.params.crop, one.params.frame) == (other.params.crop, other.params.frame)


def test_a_saved_person_comes_back_exactly(eyes, person, path, tmp_path):
    found = load_identity(path, eyes)
    assert same(found.identity, person.identity) and found.photos == person.photos
    save_identity(found, eyes, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()
    assert path.stat().st_mode & 0o077 == 0
    with pytest.raises(UsageError, match="choose a name that ends in"):
        save_identity(person, eyes, tmp_path / "me.json")


def test_an_encrypted_person(eyes, person, path, tmp_path, monkeypatch):
    pytest.importorskip("cryptography")
    monkeypatch.setattr(sealed, "COST", sealed.COSTS[0])
    secret = tmp_path / "secret.safetensors"
    save_identity(person, eyes, secret, "word")
    assert is_encrypted(secret) and not is_encrypted(path)
    assert same(load_identity(secret, eyes, "word").identity, person.identity)
    assert b"me.jpg" not in secret.read_bytes()
    with pytest.raises(UsageError, match="is encrypted; set DIFFPC_PASSPHRASE"):
        load_identity(secret, eyes)
    with pytest.raises(InputError, match="check the passphrase"):
        load_identity(secret, eyes, "sword")


def test_other_networks_are_refused(eyes, person, path):
    other = Eyes(replace(eyes.settings, reference_scale=1.3))
    with pytest.raises(
        InputError, match=r"was made with reference_scale 1\.7, this model has 1\.3; make it again"
    ):
        load_identity(path, other)
    stored = read_identity(path)
    changed = replace(stored, marks={**stored.marks, "embedder": "arcface 0123456789abcdef"})
    with pytest.raises(InputError, match=r"embedder arcface 01234567, this model has dlib [0-9a-f]{8};"):
        check_identity(changed, eyes, path)


def rewritten(path, target, tensors=None, **values):
    """The file with other tensors and metadata."""
    held = safetensors.torch.load_file(path)
    with path.open("rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    text = json.dumps({**json.loads(header["__metadata__"][ENTRY]), **values})
    held = {key: value for key, value in {**held, **(tensors or {})}.items() if value is not None}
    safetensors.torch.save_file(held, target, metadata={ENTRY: text})


BAD = {
    "nan": {"tensors": {"shape": torch.full((4,), torch.nan)}},
    "type": {"tensors": {"patches": torch.zeros(1, 64, 133, dtype=torch.float16)}},
    "dimensions": {"tensors": {"global_vector": torch.ones(128)}},
    "length": {"tensors": {"global_vector": torch.ones(1, 1, 128)}},
    "missing": {"tensors": {"jaw": None}},
    "unknown": {"tensors": {"more": torch.zeros(1)}},
    "picture": {"tensors": {"cut": torch.zeros(2000, 4, 3, dtype=torch.uint8)}},
    "camera": {"tensors": {"camera": torch.tensor([-1.0, 0.0, 0.0])}},
    "pose": {"tensors": {"rotation": torch.zeros(4)}},
    "format": {"format": 1},
    "marks": {"marks": {"embedder": 1}},
    "photos": {"photos": [{"name": "a"}]},
    "quality": {"photos": [{"name": "a", "quality": float("nan"), "distance": None, "fault": None}]},
    "crop": {"crop": [0.0, 0.0, -1.0, 96]},
    "huge": {"crop": [0.0, 0.0, 10**400, 96]},
    "frame": {"frame": [100, 0]},
}


@pytest.mark.parametrize("fault", BAD)
def test_a_changed_file_is_refused(path, tmp_path, fault):
    rewritten(path, tmp_path / "bad.safetensors", **BAD[fault])
    with pytest.raises(InputError, match=r"bad\.safetensors: ") as caught:
        read_identity(tmp_path / "bad.safetensors")
    assert ";" in str(caught.value) and "\n" not in str(caught.value)


def test_sizes_of_another_model_are_refused(eyes, path, tmp_path):
    rewritten(path, tmp_path / "bad.safetensors", tensors={"patches": torch.zeros(1, 64, 7)})
    with pytest.raises(InputError, match="other sizes than the model's"):
        load_identity(tmp_path / "bad.safetensors", eyes)


def test_what_is_no_identity(path, tmp_path):
    for content in (b"", b"text", path.read_bytes()[:-10], b"\xff" * 100):
        (tmp_path / "bad.safetensors").write_bytes(content)
        with pytest.raises(InputError, match="holds no identity"):
            read_identity(tmp_path / "bad.safetensors")
    safetensors.torch.save_file({"x": torch.zeros(1)}, tmp_path / "bad.safetensors")
    with pytest.raises(InputError, match="holds no identity"):
        read_identity(tmp_path / "bad.safetensors")
    with (tmp_path / "big.safetensors").open("wb") as stream:
        stream.truncate(MAX_BYTES + 1)
    with pytest.raises(InputError, match="more than 64 MiB"):
        read_identity(tmp_path / "big.safetensors")
    with pytest.raises(InputError, match="no such identity file"):
        read_identity(tmp_path / "nowhere.safetensors")
    with pytest.raises(InputError, match="cannot be read"):
        is_encrypted(tmp_path / "nowhere.safetensors")
