"""The real command line: help, one line per fault, exit codes."""

import json
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image as PILImage

from diffpc import cli
from diffpc.cli.options import options_of
from diffpc.images import read_image, write_png

Faulty = Callable[..., str]


def program(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "diffpc.cli", *arguments], capture_output=True, text=True)


@pytest.fixture
def faulty(
    astronaut_path: Path, random_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Faulty:
    """Run `generate` on a request with a fault; check exit code, one line, no output; return the line."""

    def run(code: int, *more: str, **options: str | None) -> str:
        defaults = {
            "reference": str(astronaut_path),
            "prompt": "a portrait",
            "output": str(tmp_path / "out" / "portrait.png"),
            "model": str(random_model),
            "steps": "1",
        }
        given = {name: value for name, value in {**defaults, **options}.items() if value is not None}
        words = [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", value)]
        assert cli.main(["generate", *words, *more]) == code
        output, line = capsys.readouterr()
        assert output == ""
        assert line.startswith("diffpc: ") and line.count("\n") == 1 and "Traceback" not in line
        assert not (tmp_path / "out").exists()
        return line

    return run


def test_help_lists_the_commands_and_loads_nothing_heavy() -> None:
    heavy = "{'torch', 'diffusers', 'transformers', 'cv2', 'dlib', 'numpy', 'typeguard'}"
    for words in (["--help"], ["export", "--help"], ["generate", "--help"]):
        code = (
            f"import sys\nfrom diffpc import cli\ntry:\n    cli.main({words})\nexcept SystemExit:\n    pass\n"
            f"print('loaded', sorted({heavy} & set(sys.modules)))"
        )
        answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert answer.stdout.endswith("loaded []\n")
        assert "generate" in answer.stdout
    for option in ("--reference", "--target", "--pose YAW PITCH ROLL", "--expression NAME|PHOTO", "--replay"):
        assert option in answer.stdout


@dataclass(frozen=True)
class Optional:
    """Options that may be left out."""

    side: int | None = 32
    """Pixels."""
    corner: tuple[int, int] | None = None
    """Two of them."""
    mood: Literal["glad", "sad"] | None = None
    """One of two."""


def test_help_names_the_kind_of_a_value_that_may_be_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        options_of(Optional, "diffpc", ["--help"])
    said = capsys.readouterr().out
    assert "--side INT " in said and "--mood {glad,sad} " in said and "{None" not in said


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ([], Optional()),
        (["--side", "None"], Optional(side=None)),
        (["--side", "8", "--mood", "sad"], Optional(8, mood="sad")),
        (["--corner", "3", "4"], Optional(corner=(3, 4))),
        (["--corner", "None", "--mood", "None"], Optional()),
    ],
)
def test_none_is_understood(words: list[str], found: Optional) -> None:
    assert options_of(Optional, "diffpc", words) == found


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("diffpc 0.")


@pytest.mark.parametrize("words", [["paint"], ["generate", "--bogus"], ["generate", "--steps", "many"]])
def test_wrong_words_exit_with_2(words: list[str]) -> None:
    answer = program(*words)
    assert answer.returncode == 2
    assert answer.stdout == "" and "Traceback" not in answer.stderr


def test_no_command_shows_the_help() -> None:
    answer = program()
    assert answer.returncode == 2 and "usage: diffpc" in answer.stderr


def test_an_interrupt_exits_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("diffpc.cli.generate.run", interrupted)
    assert cli.main(["generate"]) == 130
    assert capsys.readouterr().err == "diffpc: interrupted\n"


def test_the_unexpected_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    cli.report_fault(RuntimeError, RuntimeError("a\nb"), None)
    line = capsys.readouterr().err
    assert line.startswith("diffpc: unexpected RuntimeError: a b; please report") and line.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "words", "named"),
    [
        ({"reference": None}, [], "--reference"),
        ({"prompt": None}, [], "--prompt"),
        ({"output": None}, [], "--output"),
        ({"output": "portrait.jpg"}, [], "portrait.jpg"),
        ({"target": "a.jpg"}, ["--pose", "1", "2", "3"], "--target and --pose"),
        ({}, ["--place", "0.5", "0.5", "0.5"], "--place"),
        ({}, ["--pose", "100", "0", "0"], "--pose"),
        ({"target_face": "1"}, [], "--target-face"),
        ({"seed": "-1"}, [], "--seed"),
        ({"expression": "grumpy"}, [], "unknown expression 'grumpy'; choose one of: neutral, smile"),
        ({"model": "huge"}, [], "unknown model 'huge'"),
        ({"device": "tpu"}, [], "unknown device 'tpu'"),
        ({"dtype": "int8"}, [], "unknown dtype 'int8'"),
        ({"device": "cpu", "dtype": "float16"}, [], "--dtype bfloat16 or float32"),
        ({}, ["--size", "100", "128"], "unsupported size 100 x 128"),
        ({}, ["--size", "4096", "4096"], "unsupported size 4096 x 4096"),
        ({"steps": "0"}, [], "steps is 0"),
        ({"count": "0"}, [], "count is 0"),
        ({"guidance": "nan"}, [], "guidance is nan"),
    ],
)
def test_wrong_options(faulty: Faulty, options: dict[str, str], words: list[str], named: str) -> None:
    assert named in faulty(2, *words, **options)


def test_no_photo_is_overwritten(faulty: Faulty, tmp_path: Path) -> None:
    photo = tmp_path / "me.png"
    photo.write_bytes(b"mine")
    assert "is one of the inputs" in faulty(2, reference=str(photo), output=str(photo))
    assert photo.read_bytes() == b"mine"


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb() -> bytes:
    """A PNG of 60000 x 60000 pixels in a few kilobytes."""
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(10**6)))


def test_photos_that_cannot_be_read(faulty: Faulty, astronaut_path: Path, tmp_path: Path) -> None:
    contents = {
        "truncated.jpg": astronaut_path.read_bytes()[:20000],
        "bomb.png": bomb(),
        "text.jpg": b"this is no photo",
        "empty.png": b"",
        "film.jpg": b"\0\0\0\x18ftypmp42" + bytes(100),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        assert name in faulty(3, reference=str(tmp_path / name))
    write_png(tmp_path / "dot.png", np.zeros((1, 1, 3), np.uint8))
    for option in ("reference", "target", "expression"):
        assert "dot.png: 1 x 1 px is too small" in faulty(3, **{option: str(tmp_path / "dot.png")})
    assert "nowhere.jpg: no such file" in faulty(3, reference=str(tmp_path / "nowhere.jpg"))
    assert "is a folder" in faulty(3, reference=str(tmp_path))


def test_an_output_that_cannot_be_written(faulty: Faulty, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot be written" in faulty(3, output=str(tmp_path / "file" / "portrait.png"))
    assert "cannot be written" in faulty(3, stages=str(tmp_path / "file"))


def test_models_that_cannot_be_loaded(faulty: Faulty, random_model: Path, tmp_path: Path) -> None:
    assert "nowhere: no such" in faulty(3, model=str(tmp_path / "nowhere"))
    (tmp_path / "hollow").mkdir()
    assert "no model_index.json" in faulty(3, model=str(tmp_path / "hollow"))
    copy = tmp_path / "copy"
    shutil.copytree(random_model, copy)
    weights = copy / "id_encoder" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    assert f"{weights}: is not a whole safetensors file" in faulty(3, model=str(copy))
    weights.unlink()
    assert "id_encoder: has no .safetensors file" in faulty(3, model=str(copy))
    shutil.rmtree(copy / "id_encoder")
    assert "id_encoder: is missing" in faulty(3, model=str(copy))
    assert "someone/model: " in faulty(3, model="someone/model")


def test_an_unknown_backend(faulty: Faulty, random_model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(random_model, copy)
    index = json.loads((copy / "model_index.json").read_text())
    index["faces"]["detector"] = "guess"
    (copy / "model_index.json").write_text(json.dumps(index))
    assert "unknown face detector 'guess'; choose one of: dlib" in faulty(2, model=str(copy))


def test_photos_without_the_face_that_is_meant(faulty: Faulty, astronaut_path: Path, tmp_path: Path) -> None:
    write_png(tmp_path / "wall.png", np.full((40, 40, 3), 90, np.uint8))
    assert f"no face found in {tmp_path / 'wall.png'}" in faulty(3, reference=str(tmp_path / "wall.png"))
    photo = read_image(astronaut_path)[:256, 96:352]
    write_png(tmp_path / "two.png", np.concatenate([photo, photo], axis=1))
    two = str(tmp_path / "two.png")
    line = faulty(3, reference=two)
    assert "2 faces of similar size" in line and two in line and "--face N" in line
    assert "--target-face N" in faulty(3, target=two)
    assert "--face 5 is out of range" in faulty(2, reference=two, face="5")


def test_odd_photos_are_read(tmp_path: Path, astronaut_path: Path) -> None:
    from diffpc.generate.prepare import prepared
    from diffpc.generate.request import Request

    photo = PILImage.open(astronaut_path).resize((64, 64))
    paths = []
    for mode, suffix in {"CMYK": "jpg", "L": "png", "RGBA": "png", "I;16": "png", "P": "gif"}.items():
        paths.append(tmp_path / f"{mode.replace(';', '')}.{suffix}")
        (photo.convert("L").convert(mode) if mode == "I;16" else photo.convert(mode)).save(paths[-1])
    job = prepared(Request(tuple(paths), prompt="", output=tmp_path / "out.png"))
    assert [one.image.shape for one in job.references] == [(64, 64, 3)] * len(paths)


def test_a_reader_that_stops_reading_is_no_fault() -> None:
    command = f"{sys.executable} -m diffpc.cli --help | true; exit ${{PIPESTATUS[0]}}"
    found = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert found.returncode in (0, 141)  # 0 if all was written before the reader left
    assert found.stderr == ""
