import numpy as np
import pytest

from diffpc.faces.grabcut import GrabCutSettings, grabcut_matter
from diffpc.images import read_image
from diffpc.types import Face


def share(matte, x0, y0, x1, y1):
    return float(matte[y0:y1, x0:x1].mean())


@pytest.fixture(scope="module")
def matte(astronaut, astronaut_face):
    return grabcut_matter()(astronaut, astronaut_face)


def test_the_astronaut_is_kept_and_the_background_removed(matte):
    assert share(matte, 195, 60, 255, 165) > 0.98  # face
    assert share(matte, 190, 25, 260, 45) > 0.8  # hair
    assert share(matte, 120, 260, 330, 420) > 0.9  # suit
    assert share(matte, 0, 0, 60, 150) < 0.02  # flag
    assert share(matte, 380, 0, 512, 250) < 0.02  # shuttle
    assert share(matte, 300, 0, 370, 120) < 0.05  # wall


def test_it_is_deterministic(matte, astronaut, astronaut_face):
    assert np.array_equal(grabcut_matter()(astronaut, astronaut_face), matte)


def test_a_photo_without_contrast_falls_back_on_the_expected_shape():
    photo = np.full((240, 240, 3), 90, np.uint8)
    points = np.array([[105, 95], [140, 95], [122, 115], [108, 136], [137, 136]], float)
    matte = grabcut_matter()(photo, Face((90.0, 70.0, 155.0, 150.0), points, "eyes_nose_mouth", 1.0))
    assert share(matte, 100, 80, 145, 140) > 0.95
    assert share(matte, 60, 220, 180, 240) > 0.95
    assert share(matte, 0, 0, 30, 100) < 0.05


def test_a_face_that_fills_the_photo_is_kept():
    photo = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    points = np.array([[10, 20], [54, 20], [32, 45], [14, 70], [50, 70]], float)
    matte = grabcut_matter(GrabCutSettings(side=64))(
        photo, Face((-20.0, -20.0, 84.0, 100.0), points, "eyes_nose_mouth", 1.0)
    )
    assert matte.mean() > 0.95


def test_faces_and_hair_of_press_photos_are_kept(detector, lfw):
    for path, _ in lfw:
        image = read_image(path)
        face = detector(image)[0]
        matte = grabcut_matter()(image, face)
        x0, y0, x1, y1 = (int(value) for value in face.box)
        inner = matte[y0 + 15 : y1 - 15, x0 + 20 : x1 - 20]
        assert inner.mean() > 0.95
        assert 0.15 < matte.mean() < 0.8
