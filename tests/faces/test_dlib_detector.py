import cv2
import numpy as np
import pytest

from diffpc.faces.align import transform_points
from diffpc.faces.assets import frontal_face_detector
from diffpc.faces.views import rotated_view, scaled_view

# this face's eyes and nose, read off the photo by eye
EYES_AND_NOSE = np.array([[204.0, 102.0], [247.0, 104.0], [224.0, 134.0]])


def eyes_and_nose(face):
    points = face.landmarks
    return np.stack([points[2:4].mean(0), points[0:2].mean(0), points[4]])


def test_the_shipped_detector_is_dlibs_own(tmp_path):
    dlib = pytest.importorskip("dlib")
    dlib.get_frontal_face_detector().save(str(tmp_path / "own.svm"))
    assert frontal_face_detector().read_bytes() == (tmp_path / "own.svm").read_bytes()


def test_the_astronaut_is_found(detector, astronaut):
    (face,) = detector(astronaut)
    assert np.abs(eyes_and_nose(face) - EYES_AND_NOSE).max() < 5
    x0, y0, x1, y1 = face.box
    assert x0 < 204 < 247 < x1
    assert y0 < 102 < 134 < y1
    assert face.layout == "eye_corners_nose"


@pytest.mark.parametrize("scale", [0.35, 0.5, 3.0])
def test_small_and_large_photos_give_the_same_place(detector, astronaut, astronaut_face, scale):
    view = scaled_view(astronaut, scale)
    (face,) = detector(view.image)
    expected = transform_points(astronaut_face.landmarks, view.matrix)
    assert np.abs(face.landmarks - expected).max() < 6 * scale


@pytest.mark.parametrize("degrees", [90.0, 180.0, -35.0])
def test_turned_photos_are_searched_too(detector, astronaut, astronaut_face, degrees, monkeypatch):
    monkeypatch.setattr(detector, "_find_cnn", lambda image: [])  # it would take seconds, or find the face
    view = rotated_view(scaled_view(astronaut, 1.0), degrees)
    face = detector(np.ascontiguousarray(view.image))[0]
    expected = transform_points(astronaut_face.landmarks, view.matrix)
    assert np.abs(face.landmarks - expected).max() < 6


def test_the_convolutional_detector_takes_over(detector, astronaut, astronaut_face, monkeypatch):
    monkeypatch.setattr(detector, "_find_hog", lambda image, margin=0.0: [])
    crop = np.ascontiguousarray(astronaut[40:200, 150:310])
    face = detector(crop)[0]
    assert np.abs(face.landmarks + np.array([150, 40]) - astronaut_face.landmarks).max() < 6


def test_no_face_is_an_empty_tuple(detector):
    noise = np.random.default_rng(0).integers(0, 255, (60, 60, 3), dtype=np.uint8)
    assert detector(cv2.GaussianBlur(noise, (5, 5), 2)) == ()
