import math

import cv2
import numpy as np
import pytest
import torch

from diffpc.face3d.crop import crop_image
from diffpc.face3d.framing import (
    MARGIN,
    Square,
    crop_for_face,
    cut,
    levelled_to_upright,
    square_for_points,
)
from diffpc.face3d.light import load_light_model
from diffpc.face3d.pose import Angles, rotation_from
from diffpc.faces.align import crop_matrix
from diffpc.types import Face

ARCFACE = np.array([[38.3, 51.7], [73.5, 51.5], [56.0, 71.7], [41.5, 92.4], [70.7, 92.2]])


def turned(points: np.ndarray, degrees: float) -> np.ndarray:
    angle = math.radians(degrees)
    return points @ np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])


def face(points: np.ndarray, layout="eyes_nose_mouth") -> Face:
    low, high = points.min(0), points.max(0)
    return Face((float(low[0]), float(low[1]), float(high[0]), float(high[1])), points, layout, 1.0)


def test_an_unturned_square_is_the_crop():
    square = Square((40.0, 50.0), 60.0, 0.0, 112)
    assert np.allclose(square.matrix(), crop_matrix(square.upright))
    image = np.random.default_rng(0).integers(0, 256, (120, 110, 3), dtype=np.uint8)
    assert np.abs(cut(image, square).astype(int) - crop_image(image, square.upright)).mean() < 1


def test_the_square_follows_the_face():
    square = crop_for_face(face(ARCFACE))
    assert square.roll == pytest.approx(0, abs=0.5)
    assert abs(square.centre[0] - 56) < 3 and 60 < square.centre[1] < 80
    moved = crop_for_face(face(turned(ARCFACE, 30) * 2 + np.array([300.0, 100.0])))
    assert moved.roll == pytest.approx(square.roll + 30) and moved.size == pytest.approx(2 * square.size)
    expected = turned(np.array([square.centre]), 30)[0] * 2 + np.array([300.0, 100.0])
    assert moved.centre == pytest.approx(tuple(expected))


def test_both_layouts_give_nearly_the_same_square():
    model = load_light_model()
    points = model.mean[:, :2].numpy().astype(np.float64) * [100, -100] + 200
    eyes = [points[[33, 133]].mean(0), points[[263, 362]].mean(0)]
    arcface = crop_for_face(face(np.stack([*eyes, points[1], points[61], points[291]])))
    dlib = crop_for_face(face(points[[263, 362, 33, 133, 2]], "eye_corners_nose"))
    whole = square_for_points(points, 0.0)
    for found in (arcface, dlib):
        assert found.size == pytest.approx(whole.size, rel=0.08)
        assert np.hypot(*np.subtract(found.centre, whole.centre)) < 0.05 * whole.size


def test_the_square_of_points_is_levelled():
    box = np.array([[0.0, 0.0], [40.0, 0.0], [40.0, 60.0], [0.0, 60.0]])
    square = square_for_points(turned(box, 20), 20.0)
    assert square.size == pytest.approx(MARGIN * 50)
    assert square.centre == pytest.approx(tuple(turned(np.array([[20.0, 30.0]]), 20)[0]))


def test_a_fine_photo_is_averaged_and_stays_in_place():
    y, x = np.mgrid[:800, :800]
    image = np.repeat(((x + y) % 2 * 255).astype(np.uint8)[..., None], 3, axis=2)
    flat = cut(image, Square((400.0, 400.0), 600.0, 10.0, 112))
    assert flat.min() > 110 and flat.max() < 145  # bilinear sampling alone would show the checks
    ramp = np.repeat((x / 4).astype(np.uint8)[..., None], 3, axis=2)
    square = Square((400.0, 400.0), 700.0, 0.0, 112)
    assert np.abs(cut(ramp, square).astype(float) - crop_image(ramp, square.upright)).max() < 2.5


def test_levelled_and_upright_agree_on_the_photo():
    """A vertex seen in a turned square and in its upright crop lies at one place in the photo."""
    model = load_light_model()
    square = Square((130.0, 90.0), 80.0, 25.0, 112)
    rotation, camera = rotation_from(Angles(20.0, -10.0, 3.0)), torch.tensor([0.8, 0.1, -0.05])
    zero = (torch.zeros(1, model.sizes.shape), torch.zeros(1, model.sizes.expression))

    def photo(rotation, camera, matrix):
        placed = model(*zero, rotation[None], camera[None]).projected[0, :, :2].numpy()
        pixel = (placed + 1) * (square.resolution / 2) - 0.5
        return cv2.transform(pixel[None].astype(np.float64), cv2.invertAffineTransform(matrix))[0]

    levelled = photo(rotation, camera, square.matrix())
    upright = photo(*levelled_to_upright(rotation, camera, square.roll), crop_matrix(square.upright))
    assert np.abs(levelled - upright).max() < 1e-3
