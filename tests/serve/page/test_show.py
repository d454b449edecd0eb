"""The page's HTML: escaped, and in words for whoever does not see it."""

from pathlib import Path

import numpy as np
import pytest

from diffpc.serve.page import show
from diffpc.serve.page.controls import ExpressionSliders, PoseSliders
from diffpc.serve.page.sitting import Photo
from diffpc.types import Face, Image


def photo(image: Image, name: str) -> Photo:
    points = np.zeros((5, 2))
    faces = tuple(Face((x, 128.0, x + 64.0, 256.0), points, "eye_corners_nose", 1.0) for x in (0.0, 256.0))
    return Photo(name, image, faces, "0" * 64, chosen=1)


def test_faces_are_outlined_where_they_are_and_the_chosen_one_is_pressed(astronaut: Image) -> None:
    html = show.people([photo(astronaut, "me.jpg")])
    first, second = html.split('class="face"')[1:]
    assert "left:0.00%;top:25.00%;width:12.50%;height:25.00%" in first and 'aria-pressed="false"' in first
    assert "left:50.00%" in second and 'aria-pressed="true"' in second
    assert 'aria-label="Face 2 of 2 in me.jpg"' in second


def test_a_visitors_text_is_no_markup(astronaut: Image) -> None:
    name = '<img src=x onerror="alert(1)">.jpg'
    for html in (show.people([photo(astronaut, name)]), show.note(name)):
        assert "<img src=x" not in html and "&lt;img src=x" in html


@pytest.mark.parametrize(
    ("pose", "expression", "words"),
    [
        (PoseSliders(), ExpressionSliders(), "3D face: frontal and relaxed"),
        (
            PoseSliders(yaw=-20.0, pitch=5.0),
            ExpressionSliders(smile=1.0),
            "3D face: turned 20 degrees to the left, looking 5 degrees up, smiling",
        ),
        (PoseSliders(roll=9.0), ExpressionSliders(brows=-1.0, eyes=-1.0), 
         "3D face: tilted 9 degrees clockwise, brows lowered, eyes narrowed"),
    ],
)  # fmt: skip
def test_the_face_in_words(pose: PoseSliders, expression: ExpressionSliders, words: str) -> None:
    assert show.in_words(pose, expression) == words


def test_no_sentence_takes_no_place() -> None:
    assert show.note("") == ""


def test_the_script_and_the_style_are_in_the_package() -> None:
    folder = Path(show.__file__).parent
    assert {path.name for path in folder.glob("page.*")} == {"page.css", "page.js"}
    assert "http" not in (folder / "page.css").read_text() + (folder / "page.js").read_text()
