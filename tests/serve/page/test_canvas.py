"""The live 3D face: where it stands, what it hides, what lies below it."""

from io import BytesIO

import cv2
import numpy as np
import pytest
from PIL import Image as PILImage

from diffpc.face3d.light import LightFaceModel, load_light_model
from diffpc.face3d.predict import render_condition
from diffpc.serve.page.canvas import HEIGHT, drawn, jpeg, paper
from diffpc.serve.page.controls import PoseSliders, posed_by

VIEW = (0.0, 0.0, 1024.0, 1024.0)


@pytest.fixture(scope="module")
def model() -> LightFaceModel:
    return load_light_model()


def covered(picture: np.ndarray) -> np.ndarray:
    """Where the face is."""
    away = np.abs(picture.astype(np.float32) - paper(picture.shape[1]))
    return away.max(axis=2) > 2


def test_the_face_stands_where_the_sliders_say(model: LightFaceModel) -> None:
    sliders = PoseSliders(x=0.4, y=0.6, size=0.5)
    rows, columns = np.nonzero(covered(drawn(posed_by(sliders, model), model, VIEW)))
    assert (rows.min() + rows.max()) / 2 / HEIGHT == pytest.approx(0.6, abs=0.01)
    assert (columns.min() + columns.max()) / 2 / HEIGHT == pytest.approx(0.4, abs=0.01)
    assert (rows.max() - rows.min()) / HEIGHT == pytest.approx(0.5, abs=0.015)


def test_a_turned_face_is_another_picture(model: LightFaceModel) -> None:
    frontal, turned = (drawn(posed_by(PoseSliders(yaw=yaw), model), model, VIEW) for yaw in (0.0, 30.0))
    assert np.abs(frontal.astype(int) - turned).mean() > 3


@pytest.mark.parametrize("yaw", [0.0, 35.0])
def test_the_face_is_the_render_though_it_is_shaded_coarsely(model: LightFaceModel, yaw: float) -> None:
    params = posed_by(PoseSliders(yaw=yaw), model)
    render = render_condition(params, model, HEIGHT, HEIGHT, VIEW).numpy()
    picture = drawn(params, model, VIEW)
    seen, found = render > 0, covered(picture)
    assert (seen & found).sum() / (seen | found).sum() > 0.96
    # The clay brightens with the render; the mesh's lines blur both alike.
    inside = cv2.erode((seen & found).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    bright = cv2.blur(picture.astype(np.float32).mean(axis=2), (9, 9))[inside]
    assert np.corrcoef(bright, cv2.blur(render, (9, 9))[inside])[0, 1] > 0.9


def test_a_face_beyond_the_canvas_leaves_it_empty(model: LightFaceModel) -> None:
    picture = drawn(posed_by(PoseSliders(), model), model, (3000.0, 0.0, 1024.0, 1024.0))
    assert np.array_equal(picture, paper(HEIGHT))


def test_the_photo_below_is_faded(model: LightFaceModel) -> None:
    photo = np.full((1024, 1024, 3), (200, 100, 0), np.uint8)
    picture = drawn(posed_by(PoseSliders(), model), model, VIEW, photo)
    # 0.55 of the photo and 0.45 of the paper's (236, 233, 227).
    assert picture[0, 0].tolist() == [216, 160, 102]


def test_a_wide_view_makes_a_wide_canvas(model: LightFaceModel) -> None:
    picture = drawn(posed_by(PoseSliders(), model), model, (-512.0, 0.0, 2048.0, 1024.0))
    assert picture.shape == (HEIGHT, 2 * HEIGHT, 3)


def test_the_file_for_the_browser_shows_the_same_colours() -> None:
    picture = np.full((16, 24, 3), (210, 40, 90), np.uint8)
    with PILImage.open(BytesIO(jpeg(picture))) as read:
        assert read.size == (24, 16)
        assert np.abs(np.asarray(read.convert("RGB")).astype(int) - picture).max() <= 4
