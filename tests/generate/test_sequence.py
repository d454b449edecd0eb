"""`diffpc generate --target FILM`: frames, gaps, going on, the animation."""

import io
import json
import shutil
from contextlib import redirect_stdout

import numpy as np
import pytest

from diffpc import cli
from diffpc.images import read_image, write_png
from diffpc.provenance import Provenance, png_metadata, read_settings

pytestmark = pytest.mark.usefixtures("kept_models")


@pytest.fixture(scope="module")
def film(astronaut, tmp_path_factory):
    """A face that moves to the right; in the third frame and in the last there is none."""
    folder = tmp_path_factory.mktemp("film")
    photo = astronaut[:320, 64:384]
    for number in range(5):
        picture = np.full_like(photo, 128) if number in (2, 4) else np.roll(photo, 6 * number, axis=1)
        write_png(folder / f"{number}.png", picture)
    return folder


@pytest.fixture(scope="module")
def words(random_model, astronaut_path, film):
    """What every run here is told."""
    given = ["--reference", astronaut_path, "--target", film, "--model", random_model, "--steps", 1]
    return ["generate", *map(str, given), "--prompt", "", "--size", "64", "64"]


@pytest.fixture
def run(words, tmp_path, capsys):
    def call(code, *more):
        assert cli.main([*words, "--output", str(tmp_path / "out"), *map(str, more)]) == code
        return capsys.readouterr()

    return call


@pytest.fixture(scope="module")
def whole(words, kept_models, tmp_path_factory):
    """A folder with the whole film in out, its animation, and what was said."""
    folder, said = tmp_path_factory.mktemp("whole"), io.StringIO()
    more = ["--output", str(folder / "out"), "--animation", str(folder / "out.webp"), "--json"]
    with redirect_stdout(said):
        assert cli.main([*words, *more]) == 0
    return folder, json.loads(said.getvalue())


def test_a_film_is_drawn_and_gone_on_with(whole, run, film, tmp_path):
    found, animation = whole[1], whole[0] / "out.webp"
    out = shutil.copytree(whole[0] / "out", tmp_path / "out")
    assert (found["frames"], found["drawn"], found["kept"]) == (5, 4, 0)
    assert (found["bridged"], found["skipped"]) == ([2], [4])
    names = sorted(path.name for path in out.glob("*.png"))
    assert names == ["00000.png", "00001.png", "00002.png", "00003.png"]
    assert animation.is_file() and found["animation"] == str(animation)
    settings = read_settings(out / "00002.png").settings
    assert settings["film"][0] == film.name and settings["film"][2] == 2

    before = {name: (out / name).read_bytes() for name in names}
    (out / "00001.png").unlink()
    again = run(0)
    assert "1 portraits drawn, 3 drawn before, of 5 frames" in again.out
    assert "no face, bridged: 2" in again.out and "no face, skipped: 4" in again.out
    assert {name: (out / name).read_bytes() for name in names} == before

    assert "holds the frames of another sequence" in run(2, "--seed", 5).err


def test_a_frame_is_drawn_again_without_the_film(whole, random_model, astronaut_path, tmp_path):
    """Also a bridged one; the record holds the smoothed face."""
    frame, again = whole[0] / "out" / "00002.png", tmp_path / "again.png"
    words = ["--replay", frame, "--reference", astronaut_path, "--model", random_model, "--output", again]
    assert cli.main(["generate", *map(str, words)]) == 0
    assert again.read_bytes() == frame.read_bytes()


def test_a_frame_of_an_earlier_version_needs_its_film(astronaut_path, tmp_path, capsys):
    record = {
        name: None
        for name in ("target", "expression", "pose", "place", "model", "base", "face", "target_face")
    }
    record |= {"reference": [["me.jpg", "1" * 64]], "lora": [], "steps": 1, "guidance": 1.0, "strength": 1.0}
    record |= {"size": [64, 64], "device": "cpu", "dtype": "float32", "frame": 7}
    provenance = Provenance("0.1.0", "", 1, record, {})
    write_png(tmp_path / "old.png", np.zeros((64, 64, 3), np.uint8), png_metadata(provenance))
    assert cli.main(["generate", "--replay", str(tmp_path / "old.png")]) == 3
    assert "is frame 7 of a film, drawn before" in capsys.readouterr().err


def test_a_film_as_mp4(run, tmp_path):
    """Every portrait is in it, and in order: the pictures differ more from their neighbours than from themselves."""
    av = pytest.importorskip("av", reason="the extra video is not installed")
    run(0, "--animation", tmp_path / "out.mp4", "--smooth", 0)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert "AI-generated" in container.metadata["comment"]
        seen = [one.to_ndarray(format="rgb24").astype(float) for one in container.decode(video=0)]
    drawn = [read_image(path).astype(float) for path in sorted((tmp_path / "out").glob("*.png"))]
    assert len(seen) == len(drawn) == 4
    for at, picture in enumerate(seen):
        away = [np.abs(picture - other).mean() for other in drawn]
        assert away[at] == min(away) < 25


def test_one_noise(run, astronaut, tmp_path):
    """Two frames with the same face are the same portrait."""
    still = tmp_path / "still"
    for number in range(2):
        write_png(still / f"{number}.png", astronaut)
    run(0, "--target", still)
    first, second = (read_image(tmp_path / "out" / f"0000{number}.png") for number in range(2))
    assert (first == second).all()


def test_what_does_not_go_with_a_film(run, tmp_path):
    for words, message in (
        (("--count", 2), "do not go with a film"),
        (("--animation", "out.gif"), "cannot be an animation"),
        (("--every", 0), "--every or --smooth is out of range"),
        (("--output", "x.png"), "needs --output FOLDER"),
    ):
        assert message in run(2, *words).err
    assert not (tmp_path / "out").exists()


def test_a_film_without_a_face(run, tmp_path):
    write_png(tmp_path / "wall" / "0.png", np.full((64, 64, 3), 128, np.uint8))
    assert "no face found in any of 1 frames" in run(3, "--target", tmp_path / "wall").err
