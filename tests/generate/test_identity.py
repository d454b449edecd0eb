"""`diffpc identity` and what `generate` does with its files."""

import json

import pytest

from diffpc import cli
from diffpc.images import read_image
from diffpc.provenance import read_settings
from diffpc.weights import sha256

pytestmark = pytest.mark.usefixtures("kept_models")


def answer(capsys, code, *words):
    assert cli.main([str(word) for word in words]) == code
    return capsys.readouterr()


@pytest.fixture
def file(astronaut_path, tmp_path, capsys):
    path = tmp_path / "me.identity.safetensors"
    found = answer(capsys, 0, "identity", "create", astronaut_path, "-o", path)
    assert f"{path}: a person of 1 of 1 photos" in found.out and "astronaut.jpg: quality 0." in found.out
    return path


def drawn(capsys, model, output, *words):
    words = ("--prompt", "a painting", "--model", model, "--steps", 1, *words, "--output", output, "--json")
    return json.loads(answer(capsys, 0, "generate", *words).out)


def test_a_file_draws_what_its_photo_draws(file, random_model, astronaut_path, tmp_path, capsys):
    by_photo, by_file = tmp_path / "photo.png", tmp_path / "file.png"
    drawn(capsys, random_model, by_photo, "--reference", astronaut_path)
    drawn(capsys, random_model, by_file, "--identity", file, "--stages", tmp_path / "stages")
    assert (read_image(by_photo) == read_image(by_file)).all()
    settings = read_settings(by_file).settings
    assert (settings["reference"], settings["identity"]) == ([], [file.name, sha256(file)])
    assert {path.stem for path in (tmp_path / "stages").iterdir()} == {
        "aligned",
        "cut",
        "mesh",
        "i_3d",
        "i_skin",
        "strip",
    }
    replay = drawn(capsys, random_model, tmp_path / "again.png", "--replay", by_file)
    assert (tmp_path / "again.png").read_bytes() == by_file.read_bytes() and replay["notes"] == []
    changed = drawn(
        capsys, random_model, tmp_path / "x.png", "--replay", by_file, "--reference", astronaut_path
    )
    assert len(changed["notes"]) == 1 and "is not the file me.identity.safetensors" in changed["notes"][0]
    assert read_settings(tmp_path / "x.png").settings["identity"] is None


def test_the_best_of_three(random_model, astronaut_path, tmp_path, capsys):
    """It is the portrait that its seed draws alone."""
    words = ("--reference", astronaut_path, "--seed", 4)
    found = drawn(capsys, random_model, tmp_path / "best.png", *words, "--best-of", 3)
    assert [one["seed"] for one in found["tried"]] == [4, 5, 6]
    rated = [-1e9 if one["score"] is None else one["score"] for one in found["tried"]]
    seed = found["portraits"][0]["seed"]
    assert seed == 4 + rated.index(max(rated)) and len(found["portraits"]) == 1
    drawn(capsys, random_model, tmp_path / "alone.png", *words, "--seed", seed)
    assert (tmp_path / "alone.png").read_bytes() == (tmp_path / "best.png").read_bytes()


def test_faults_are_one_line(file, random_model, astronaut_path, tmp_path, capsys, monkeypatch):
    common = ("generate", "--prompt", "", "--model", random_model, "--output", tmp_path / "out.png")
    both = answer(capsys, 2, *common, "--identity", file, "--reference", astronaut_path)
    assert "--reference and --identity exclude each other" in both.err
    assert (
        "no such identity file" in answer(capsys, 3, *common, "--identity", tmp_path / "no.safetensors").err
    )
    assert "holds no identity" in answer(capsys, 3, *common, "--identity", astronaut_path).err
    assert "--face needs --reference" in answer(capsys, 2, *common, "--identity", file, "--face", 0).err
    words = (*common, "--reference", astronaut_path, "--best-of", 2, "--count", 3)
    assert "--best-of is out of range; choose 3 to 64" in answer(capsys, 2, *words).err
    monkeypatch.setattr("sys.stdin", open("/dev/null"))  # noqa: SIM115, PTH123 - pytest's own has no terminal either
    monkeypatch.delenv("DIFFPC_PASSPHRASE", raising=False)
    words = ("identity", "create", astronaut_path, "--encrypt", "-o", tmp_path / "secret.safetensors")
    assert "--encrypt needs a passphrase" in answer(capsys, 2, *words).err


def test_an_encrypted_file_needs_its_passphrase(random_model, astronaut_path, tmp_path, capsys, monkeypatch):
    pytest.importorskip("cryptography")
    from diffpc import sealed

    monkeypatch.setattr(sealed, "COST", sealed.COSTS[0])
    path = tmp_path / "me.identity.safetensors"
    monkeypatch.setenv("DIFFPC_PASSPHRASE", "word")
    answer(capsys, 0, "identity", "create", astronaut_path, "--encrypt", "-o", path)
    shown = json.loads(answer(capsys, 0, "identity", "show", path, "--json").out)
    assert shown["encrypted"] and shown["photos"][0]["name"] == "astronaut.jpg"
    drawn(capsys, random_model, tmp_path / "out.png", "--identity", path)
    monkeypatch.setenv("DIFFPC_PASSPHRASE", "sword")
    assert "check the passphrase" in answer(capsys, 3, "identity", "show", path).err


def test_help(capsys):
    assert cli.main(["identity"]) == 2
    assert "biometric data" in capsys.readouterr().err
    assert cli.main(["identity", "--help"]) == 0
    assert "create PHOTO" in capsys.readouterr().out
