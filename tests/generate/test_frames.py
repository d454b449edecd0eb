from fractions import Fraction

import numpy as np
import pytest

from diffpc.errors import InputError
from diffpc.generate import frames as module
from diffpc.generate.animation import write_animation
from diffpc.generate.frames import frames, is_film, opened_film
from diffpc.images import write_png

av = pytest.importorskip("av")


@pytest.fixture
def pictures(tmp_path):
    """Six pictures that grow lighter."""
    folder = tmp_path / "pictures"
    for number in range(6):
        write_png(folder / f"{number}.png", np.full((64, 96, 3), 40 * number, np.uint8))
    return folder


def levels(film):
    return [round(float(image.mean()) / 40) for image in frames(film)]


def test_pictures_of_a_folder(pictures):
    film = opened_film(pictures, 2)
    assert levels(film) == [0, 2, 4] and film.rate == 6
    assert is_film(pictures) and not is_film(pictures / "0.png")
    (pictures / "3.png").write_bytes(b"changed")
    assert opened_film(pictures, 2).digest != film.digest


def test_a_video_and_back(pictures, tmp_path):
    path = tmp_path / "film.mp4"
    write_animation(sorted(pictures.iterdir()), path, Fraction(5), "")
    assert is_film(path) and b"trainedAlgorithmicMedia" in path.read_bytes()
    film = opened_film(path, 1)
    assert film.rate == 5 and levels(film) == [0, 1, 2, 3, 4, 5]
    assert next(frames(film)).shape == (64, 96, 3)
    assert levels(opened_film(path, 3)) == [0, 3]


def test_an_animated_webp(pictures, tmp_path):
    from PIL import Image as PILImage

    path = tmp_path / "film.webp"
    write_animation(sorted(pictures.iterdir()), path, Fraction(10), "<marked/>")
    with PILImage.open(path) as found:
        assert found.n_frames == 6 and b"<marked/>" in path.read_bytes()
        found.seek(4)
        found.load()  # Pillow knows a frame's duration when it is decoded
        assert found.info["duration"] == 100
        assert np.asarray(found.convert("RGB")).mean() == pytest.approx(160, abs=2)


def test_limits(pictures, tmp_path, monkeypatch):
    path = tmp_path / "film.mp4"
    write_animation(sorted(pictures.iterdir()), path, Fraction(5), "")
    for name, value, message in (
        ("MAX_PIXELS", 6000, "96 x 64 px is over the limit"),
        ("MAX_BYTES", 100, "has more than 0 GiB"),
        ("MAX_FRAMES", 5, "has more than 5 frames to draw; pass a larger --every"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, value)
            with pytest.raises(InputError, match=message):
                list(frames(opened_film(path, 1)))
    with monkeypatch.context() as patch:
        patch.setattr(module, "MAX_FRAMES", 2)
        assert levels(opened_film(path, 3)) == [0, 3]


def test_what_is_no_film(tmp_path):
    bad = tmp_path / "film.mp4"
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1/x.ts\n"
    concat = b"ffconcat version 1.0\nfile /etc/passwd\n"
    for content in (b"", b"text", playlist, concat, b"\0\0\0\x18ftypmp42" + bytes(100)):
        bad.write_bytes(content)
        with pytest.raises(InputError, match=r"film\.mp4: is no whole video"):
            opened_film(bad, 1)
    with pytest.raises(InputError, match="no such file"):
        opened_film(tmp_path / "nowhere.mp4", 1)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no pictures"):
        opened_film(tmp_path / "empty", 1)
