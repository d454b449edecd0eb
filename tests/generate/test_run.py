"""`diffpc generate` on a real photo and a model of random weights: files, figures, determinism, replay."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from diffpc import cli
from diffpc.cli.generate import _parsed
from diffpc.generate.request import output_paths
from diffpc.images import read_image
from diffpc.provenance import DIGITAL_SOURCE_TYPE, read_settings
from diffpc.weights import sha256


@dataclass(frozen=True)
class Made:
    folder: Path
    answer: dict[str, Any]

    def bytes(self, name: str) -> bytes:
        return (self.folder / name).read_bytes()


Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*words: object) -> dict[str, Any]:
        code = cli.main(["generate", *map(str, words), "--json"])
        captured = capsys.readouterr()
        assert code == 0, captured.err
        return json.loads(captured.out)

    return call


@pytest.fixture(scope="module")
def made(random_model: Path, astronaut_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """One run with a target, a named expression, two portraits and the stages."""
    folder = tmp_path_factory.mktemp("made")
    shutil.copy(astronaut_path, folder / "me.jpg")
    shutil.copytree(random_model, folder / "model")
    words = ["generate", "--reference", folder / "me.jpg", "--target", folder / "me.jpg"]
    words += ["--expression", "smile", "--prompt", "a painting, é", "--output", folder / "out.png"]
    words += ["--model", folder / "model", "--steps", 1, "--seed", 7, "--count", 2]
    words += ["--stages", folder / "stages", "--json"]
    with pytest.MonkeyPatch.context() as patch:
        lines: list[str] = []
        patch.setattr("builtins.print", lambda *values, **_: lines.append(str(values[0])))
        assert cli.main([str(word) for word in words]) == 0
    assert len(lines) == 1
    return Made(folder, json.loads(lines[0]))


def test_the_answer_has_every_figure(made: Made) -> None:
    answer = made.answer
    assert [one["output"] for one in answer["portraits"]] == [
        str(made.folder / name) for name in ("out-0.png", "out-1.png")
    ]
    assert [one["seed"] for one in answer["portraits"]] == [7, 8]
    for portrait in answer["portraits"]:
        assert set(portrait) == {"output", "seed", "similarity", "pose_error", "expression_error"}
    stages = {"load", "detect", "identify", "target", "render", "encode", "denoise", "decode", "measure"}
    assert set(answer["seconds"]) == stages | {"write", "total"}
    assert sum(answer["seconds"].values()) <= 2 * answer["seconds"]["total"] + 0.1
    weights = made.folder / "model" / "unet" / "diffusion_pytorch_model.safetensors"
    assert answer["weights"]["unet/diffusion_pytorch_model.safetensors"] == sha256(weights)
    assert len(answer["weights"]) == 7
    assert answer["peak_memory_mib"]["process"] > 50
    assert (answer["device"], answer["settings"]["size"], answer["notes"]) == ("cpu", [128, 128], [])


def test_the_portrait_carries_its_making(made: Made) -> None:
    path = made.folder / "out-1.png"
    assert read_image(path).shape == (128, 128, 3)
    found = read_settings(path)
    assert (found.prompt, found.seed, found.weights) == ("a painting, é", 8, made.answer["weights"])
    assert found.settings["reference"] == [["me.jpg", sha256(made.folder / "me.jpg")]]
    assert (found.settings["expression"], found.settings["model"]) == ("smile", "model")
    assert str(made.folder).encode() not in path.read_bytes()
    assert DIGITAL_SOURCE_TYPE.encode() in path.read_bytes()


def test_the_stages_are_pictures(made: Made) -> None:
    folder = made.folder / "stages"
    shapes = {path.stem: read_image(path).shape[:2] for path in folder.iterdir()}
    assert set(shapes) == {"reference", "target", "aligned", "cut", "mesh", "i_3d", "i_skin", "strip"}
    assert (shapes["i_3d"], shapes["mesh"], shapes["strip"]) == ((128, 128), (512, 512), (512, 2560))
    i_3d = read_image(folder / "i_3d.png")
    assert 0.1 < (i_3d > 0).mean() < 0.6


def test_a_portrait_does_not_depend_on_the_others(made: Made, run: Run, tmp_path: Path) -> None:
    """And replaying it gives the same bytes, with photo and model found beside it."""
    answer = run("--replay", made.folder / "out-1.png")
    assert answer["portraits"][0]["output"] == str(made.folder / "out-1-replay.png")
    assert answer["notes"] == []
    assert made.bytes("out-1-replay.png") == made.bytes("out-1.png")


def test_a_replay_with_a_change(made: Made, run: Run, tmp_path: Path) -> None:
    """What is given goes first: a pose replaces the target, another photo is noted."""
    photo = tmp_path / "me.png"
    from diffpc.images import write_png

    write_png(photo, read_image(made.folder / "me.jpg"))
    output = tmp_path / "other.png"
    answer = run(
        "--replay", made.folder / "out-0.png", "--reference", photo, "--pose", -25, 5, 0, "--output", output
    )
    assert answer["notes"] == [
        f"{photo} is not the file me.jpg that {made.folder / 'out-0.png'} was made from"
    ]
    settings = read_settings(output).settings
    assert (settings["target"], settings["pose"], settings["expression"]) == (
        None,
        [-25.0, 5.0, 0.0],
        "smile",
    )
    assert output.read_bytes() != made.bytes("out-0.png")


def test_a_replay_without_its_photo(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(made.folder / "out-0.png", tmp_path)
    replay = ["generate", "--replay", str(tmp_path / "out-0.png")]
    assert cli.main(replay) == 3
    assert "pass --reference me.jpg" in capsys.readouterr().err
    (tmp_path / "me.jpg").write_bytes(b"another")
    assert cli.main(replay) == 3
    assert "me.jpg: is not the file that" in capsys.readouterr().err
    shutil.copy(made.folder / "me.jpg", tmp_path)
    assert cli.main(replay) == 2
    assert "pass --model" in capsys.readouterr().err
    assert cli.main(["generate", "--replay", str(tmp_path / "me.jpg")]) == 3
    assert "is no PNG" in capsys.readouterr().err


def test_a_hostile_record_is_refused(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from dataclasses import replace

    from diffpc.images import write_png
    from diffpc.provenance import png_metadata

    source = read_settings(made.folder / "out-0.png")
    image = read_image(made.folder / "out-0.png")
    changes = {
        "reference": [["../../etc/passwd", "0"]],
        "model": "../model",
        "steps": "many",
        "size": [128],
        "more": 1,
    }
    for name, value in changes.items():
        settings = {**source.settings, name: value}
        write_png(tmp_path / "bad.png", image, png_metadata(replace(source, settings=settings)))
        assert cli.main(["generate", "--replay", str(tmp_path / "bad.png")]) == 3
        line = capsys.readouterr().err
        assert f"not usable ({name})" in line and line.count("\n") == 1


def test_photos_for_expression_and_several_references(
    random_model: Path, astronaut_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The summary for people names the files; the reference's own pose is kept without target and pose."""
    words = ["generate", "--reference", astronaut_path, astronaut_path, "--expression", astronaut_path]
    words += ["--prompt", "", "--output", tmp_path / "new" / "out.PNG", "--model", random_model, "--steps", 1]
    words += ["--guidance", 2, "--size", 128, 192, "--dtype", "float32"]
    assert cli.main([str(word) for word in words]) == 0
    output, errors = capsys.readouterr()
    assert str(tmp_path / "new" / "out.PNG") in output and "seed 0" in output and "seconds: " in output
    assert errors == ""
    assert read_image(tmp_path / "new" / "out.PNG").shape == (192, 128, 3)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out.PNG"]


def test_output_paths() -> None:
    assert output_paths(Path("a/b.png"), 1) == [Path("a/b.png")]
    assert output_paths(Path("a/b.png"), 2) == [Path("a/b-0.png"), Path("a/b-1.png")]


def test_compiled_or_as_in_the_record() -> None:
    """Not given it must stay open, or a PNG that was drawn by compiled steps would be drawn again without."""
    assert _parsed(["--compile", "--prompt", "x"])[0].compile is True
    assert _parsed(["--prompt", "x"])[0].compile is None


def test_without_a_compiler_nothing_is_drawn(
    made: Made, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    words = [
        "generate",
        "--reference",
        made.folder / "me.jpg",
        "--prompt",
        "x",
        "--compile",
        "--device",
        "cpu",
    ]
    assert cli.main([str(word) for word in [*words, "--output", made.folder / "compiled.png"]]) == 2
    assert "--compile needs a C++ compiler (no-such-compiler)" in capsys.readouterr().err


def test_compiled_steps_and_moved_networks_exclude_each_other(
    made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["generate", "--reference", made.folder / "me.jpg", "--prompt", "x", "--device", "cpu"]
    words += ["--compile", "--memory", "tiling", "fp8"]
    assert cli.main([str(word) for word in [*words, "--output", made.folder / "both.png"]]) == 2
    assert "--compile and --memory fp8 exclude each other" in capsys.readouterr().err
