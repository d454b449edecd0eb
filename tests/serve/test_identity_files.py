"""Identity files sent to the service: the person is the one of the photos, and nothing else gets in."""

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from starlette.testclient import TestClient

from diffpc import sealed
from diffpc.errors import InputError, UsageError
from diffpc.identity_file import MAX_BYTES, save_identity
from diffpc.person import Person, gathered
from diffpc.serve.identity_files import IdentityFile, unlocked
from diffpc.serve.painter import LocalPainter
from diffpc.serve.studio import Studio
from diffpc.types import Image


@pytest.fixture(scope="module")
def person(painter: LocalPainter, astronaut: Image) -> Person:
    return gathered([astronaut], ["astronaut.jpg"], painter.eyes)


@pytest.fixture(scope="module")
def plain(person: Person, painter: LocalPainter, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("identity") / "me.identity.safetensors"
    save_identity(person, painter.eyes, path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def secret(plain: bytes) -> bytes:
    pytest.importorskip("cryptography", reason="the extra identity is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sealed, "COST", sealed.COSTS[0])
        return sealed.seal(plain, "open sesame")


def posted(client: TestClient, data: bytes, **options: Any) -> Any:
    """As JSON."""
    file = {"name": "a/me.identity.safetensors", "data": base64.b64encode(data).decode()}
    return client.post("/v1/identities", json={"consent": True, "identity_file": file, **options})


def formed(client: TestClient, data: bytes, **options: Any) -> Any:
    """As a form."""
    files = [("identity_file", ("me.identity.safetensors", data))]
    options = {"options": json.dumps({"consent": True, **options})}
    return client.post("/v1/identities", data=options, files=files)


def detail(answer: Any) -> str:
    assert answer.status_code == 422, answer.text
    return answer.json()["detail"]


@pytest.mark.parametrize("send", [posted, formed])
def test_a_file_is_the_person_of_its_photos(
    client: TestClient, served: Studio, plain: bytes, person: Person, send: Any
) -> None:
    answer = send(client, plain)
    assert answer.status_code == 201, answer.text
    known = served.identities.get(answer.json()["id"])
    assert known.origin is not None and known.origin.file is not None
    assert known.origin.file[0] == "me.identity.safetensors"
    features = person.identity.features
    assert torch.equal(known.identity.features.patches, features.patches.cpu())
    asked = {"consent": True, "identity": answer.json()["id"], "steps": 1}
    job = client.post("/v1/portraits", json=asked).json()
    assert '"state":"done"' in client.get(job["events"]).text
    drawn = served.status(job["id"]).results[0].drawn
    assert np.array_equal(drawn.identity.features.aligned, features.aligned)


@pytest.mark.parametrize("send", [posted, formed])
def test_an_encrypted_file_needs_its_passphrase(
    client: TestClient, secret: bytes, send: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    assert "is encrypted; send its passphrase with it" in detail(send(client, secret))
    wrong = send(client, secret, passphrase="open barley")
    assert "check the passphrase" in detail(wrong) and "barley" not in wrong.text
    right = send(client, secret, passphrase="open sesame")
    assert right.status_code == 201 and "sesame" not in right.text
    assert "barley" not in caplog.text and "sesame" not in caplog.text
    long = send(client, secret, passphrase="sesame" * 1000)
    assert "passphrase" in detail(long) and "sesame" not in long.text


def test_secrets_show_in_no_message() -> None:
    text = repr(IdentityFile("me.safetensors", b"a face", "open sesame"))
    assert "sesame" not in text and "face" not in text


@pytest.mark.parametrize("send", [posted, formed])
def test_what_is_no_identity_is_refused(
    client: TestClient, plain: bytes, astronaut_path: Path, secret: bytes, send: Any
) -> None:
    for data in (b"", plain[:-9], plain[:100], b"\xff" * 64, astronaut_path.read_bytes()):
        assert "me.identity.safetensors: holds no identity" in detail(send(client, data))
    assert "the encrypted file is damaged" in detail(send(client, secret[:20], passphrase="x"))
    changed = secret[:-1] + bytes([secret[-1] ^ 1])
    assert "cannot be decrypted" in detail(send(client, changed, passphrase="open sesame"))
    other = plain.replace(b"dlib", b"dlip")
    assert other != plain and "this model has" in detail(send(client, other))


def test_photos_and_a_file_exclude_each_other(client: TestClient, plain: bytes, astronaut_path: Path) -> None:
    photo = ("references", ("me.jpg", astronaut_path.read_bytes()))
    file = ("identity_file", ("me.safetensors", plain))
    consent = {"options": '{"consent": true}'}
    for files, said in (
        ([photo, file], "and not both"),
        ([file, file], "2 files; send one"),
        ([file, ("target", photo[1])], "unexpected part 'target'"),
    ):
        assert said in detail(client.post("/v1/identities", data=consent, files=files))
    assert "send photos, or an identity file" in detail(client.post("/v1/identities", json={"consent": True}))
    assert posted(client, plain, consent=False).status_code == 422
    assert posted(client, bytes(3 * 2**20)).status_code == 413


def test_a_face_far_outside_its_photo_is_refused(
    person: Person, painter: LocalPainter, tmp_path: Path
) -> None:
    """Rendering it would take the processor for minutes."""
    identity = person.identity
    for change in ({"camera": torch.tensor([1e9, 0.0, 0.0])}, {"shape": identity.params.shape + 1e30}):
        wild = replace(identity, params=replace(identity.params, **change))
        path = tmp_path / "wild.safetensors"
        save_identity(Person(wild, person.photos), painter.eyes, path)
        with pytest.raises(InputError, match="lies far outside its photo"):
            unlocked(IdentityFile(path.name, path.read_bytes()), painter.eyes)


def test_limits_come_before_decoding(painter: LocalPainter, secret: bytes) -> None:
    with pytest.raises(InputError, match="has more than 64 MiB"):
        unlocked(IdentityFile("it", bytes(MAX_BYTES + 1)), painter.eyes)
    with pytest.raises(UsageError, match="is encrypted"):
        unlocked(IdentityFile("it", secret, ""), painter.eyes)
