"""Portraits of the service drawn again by `diffpc generate --replay`, byte for byte, however they were asked for."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from diffpc import cli, sealed
from diffpc.face3d.pose import Angles
from diffpc.face3d.predict import Placement, condition, posed
from diffpc.identity_file import save_identity
from diffpc.images import read_image
from diffpc.person import gathered
from diffpc.provenance import read_settings
from diffpc.serve.identity_files import IdentityFile
from diffpc.serve.painter import LocalPainter, ModelSettings
from diffpc.serve.request import Photo, PortraitRequest, Wish
from diffpc.serve.safety import SafetySettings
from diffpc.serve.studio import Studio
from diffpc.weights import sha256

pytestmark = pytest.mark.usefixtures("kept_models")

Capture = pytest.CaptureFixture[str]


class Quiet:
    """Nobody who watches."""

    def report(self, number: int, step: object) -> None: ...

    def stopped(self, number: int) -> bool:
        return False


@pytest.fixture(scope="module")
def unmarked() -> Iterator[LocalPainter]:
    """The bundled model, which obeys, without a watermark: that comes afterwards, and generate has none."""
    made = LocalPainter(ModelSettings(safety=SafetySettings(watermark=False)))
    yield made
    made.close()


@pytest.fixture(scope="module")
def studio(unmarked: LocalPainter) -> Iterator[Studio]:
    made = Studio(lambda: unmarked)
    made.start()
    assert made.ready(None)
    yield made
    made.jobs.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, astronaut_path: Path, two_faced: bytes) -> Path:
    """A photo, and one of two faces."""
    made = tmp_path_factory.mktemp("replay")
    shutil.copy(astronaut_path, made / "me.jpg")
    (made / "two.png").write_bytes(two_faced)
    return made


@pytest.fixture
def asked(folder: Path) -> PortraitRequest:
    return PortraitRequest((photo(folder, "me.jpg"),), prompt="a wood", seed=3, steps=1, previews=False)


def photo(folder: Path, name: str, face: int | None = None) -> Photo:
    return Photo(name, read_image(folder / name), sha256(folder / name), face)


def drawn(painter: LocalPainter, request: PortraitRequest, path: Path) -> bytes:
    """The portrait's file, written to `path`."""
    (outcome,) = painter.draw([request], Quiet())
    assert not isinstance(outcome, Exception), outcome
    path.write_bytes(outcome[0].png)
    return outcome[0].png


def again(path: Path, capsys: Capture, *words: object) -> bytes:
    """The file that a replay writes; the first time from the PNG, then from the replay's own."""
    output = path.with_name("again.png")
    words = ("--output", output, "--json", *words)
    assert cli.main([str(word) for word in ("generate", "--replay", path, *words)]) == 0, capsys.readouterr()
    assert json.loads(capsys.readouterr().out)["notes"] == []
    return output.read_bytes()


def test_scores(unmarked: LocalPainter, asked: PortraitRequest, folder: Path, capsys: Capture) -> None:
    wish = Wish(scores={"jawOpen": 0.7, "mouthSmileLeft": 0.25}, pose=Angles(12.5, -3.0, 1.0))
    png = drawn(unmarked, replace(asked, wish=wish), folder / "it.png")
    assert again(folder / "it.png", capsys) == png
    assert again(folder / "again.png", capsys) == png  # a replay's record replays too
    plain = drawn(unmarked, replace(asked, wish=replace(wish, scores={})), folder / "plain.png")
    assert (read_image(folder / "plain.png") != read_image(folder / "it.png")).any() and plain != png
    words = ("--replay", folder / "it.png", "--expression", "smile", "--output", folder / "smile.png")
    assert cli.main([str(word) for word in ("generate", *words)]) == 0
    settings = read_settings(folder / "smile.png").settings
    assert settings["expression"] == "smile" and "scores" not in settings


def test_a_3d_face_in_numbers(
    unmarked: LocalPainter, asked: PortraitRequest, folder: Path, capsys: Capture
) -> None:
    eyes = unmarked.eyes
    someone = eyes.params(asked.references[0].image, eyes.face(asked.references[0].image, 0, "me"))
    params = condition(
        eyes.model.expressed({"jawOpen": 1 / 3}), someone, posed(eyes.model, Angles(1 / 7), Placement())
    )
    png = drawn(unmarked, replace(asked, wish=Wish(params=params)), folder / "it.png")
    assert again(folder / "it.png", capsys) == png
    assert "shape" not in read_settings(folder / "it.png").settings["params"]
    other = (folder / "it.png", "--pose", 20, 0, 0)
    output = ("--output", folder / "posed.png")
    assert cli.main([str(word) for word in ("generate", "--replay", *other, *output)]) == 0
    assert "params" not in read_settings(folder / "posed.png").settings


def test_chosen_faces(unmarked: LocalPainter, asked: PortraitRequest, folder: Path, capsys: Capture) -> None:
    """Another one in each photo; without that the replay would draw somebody else."""
    references = (photo(folder, "two.png", 1), photo(folder, "me.jpg", 0))
    wish = Wish(target=photo(folder, "two.png", 1), expression=photo(folder, "two.png", 1))
    png = drawn(unmarked, replace(asked, references=references, wish=wish), folder / "it.png")
    assert again(folder / "it.png", capsys) == png
    settings = read_settings(folder / "it.png").settings
    assert (settings["faces"], settings["expression_face"], settings["target_face"]) == ([1, 0], 1, 1)
    largest = (photo(folder, "two.png", 0), photo(folder, "me.jpg", 0))
    other = drawn(unmarked, replace(asked, references=largest, wish=wish), folder / "other.png")
    assert again(folder / "other.png", capsys) == other
    assert (read_image(folder / "it.png") != read_image(folder / "other.png")).any()


def test_a_held_identity_of_photos(
    studio: Studio, unmarked: LocalPainter, asked: PortraitRequest, folder: Path, capsys: Capture
) -> None:
    """Its record names the photos that it was made of."""
    known = studio.identify((photo(folder, "two.png", 1), photo(folder, "me.jpg")))
    request = replace(asked, references=(), identity=known.identity, origin=known.origin)
    png = drawn(unmarked, request, folder / "it.png")
    assert again(folder / "it.png", capsys) == png


def test_a_held_identity_of_an_encrypted_file(
    studio: Studio,
    unmarked: LocalPainter,
    asked: PortraitRequest,
    folder: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("cryptography", reason="the extra identity is not installed")
    monkeypatch.setattr(sealed, "COST", sealed.COSTS[0])
    monkeypatch.setenv("DIFFPC_PASSPHRASE", "open sesame")
    person = gathered([asked.references[0].image], ["me.jpg"], unmarked.eyes)
    path = folder / "me.identity.safetensors"
    save_identity(person, unmarked.eyes, path, "open sesame")
    known = studio.identify(IdentityFile(path.name, path.read_bytes(), "open sesame"))
    request = replace(asked, references=(), identity=known.identity, origin=known.origin)
    png = drawn(unmarked, request, folder / "it.png")
    assert b"sesame" not in png
    assert again(folder / "it.png", capsys) == png
    assert again(folder / "it.png", capsys, "--identity", path) == png
    path.unlink()
    assert cli.main(["generate", "--replay", str(folder / "it.png")]) == 3
    assert "pass --identity me.identity.safetensors" in capsys.readouterr().err


def test_an_identity_that_nothing_is_known_of_is_asked_for(
    unmarked: LocalPainter, asked: PortraitRequest, folder: Path, capsys: Capture
) -> None:
    identity = unmarked.pipeline.identify([asked.references[0].image])
    drawn(unmarked, replace(asked, references=(), identity=identity), folder / "it.png")
    assert cli.main(["generate", "--replay", str(folder / "it.png")]) == 3
    message = capsys.readouterr().err
    assert "does not say what its person was known by; pass --reference PHOTO or --identity FILE" in message
    again(folder / "it.png", capsys, "--reference", folder / "me.jpg")
    assert (read_image(folder / "again.png") == read_image(folder / "it.png")).all()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("scores", {"jawOpen": "wide"}),
        ("scores", [1.0]),
        ("faces", [0, 1, 2]),
        ("faces", ["first"]),
        ("expression_face", True),
        ("params", {"rotation": [0.0, 0.0, 0.0]}),
    ],
)
def test_a_hostile_record_is_refused(
    unmarked: LocalPainter, asked: PortraitRequest, folder: Path, capsys: Capture, name: str, value: object
) -> None:
    from diffpc.images import write_png
    from diffpc.provenance import png_metadata

    if not (folder / "good.png").exists():
        drawn(unmarked, asked, folder / "good.png")
    source = read_settings(folder / "good.png")
    settings = {**source.settings, name: value}
    image = np.zeros((8, 8, 3), np.uint8)
    write_png(folder / "bad.png", image, png_metadata(replace(source, settings=settings)))
    assert cli.main(["generate", "--replay", str(folder / "bad.png")]) == 3
    assert f"not usable ({name})" in capsys.readouterr().err
