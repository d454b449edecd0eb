import numpy as np
import pytest

from diffpc.faces.align import transform_points
from diffpc.faces.views import bounding_box, compose, rotated_view, scaled_view


def dot(width, height, x, y):
    image = np.zeros((height, width, 3), np.uint8)
    image[y - 1 : y + 2, x - 1 : x + 2] = 255
    return image


def centre_of_light(image):
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    weight = image[..., 0] / image[..., 0].sum(dtype=float)
    return np.array([(x * weight).sum(), (y * weight).sum()])


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.7, 3.0])
def test_scaled_points_follow_their_pixels(scale):
    view = scaled_view(dot(90, 60, 30, 21), scale)
    assert np.allclose(
        transform_points(np.array([[30.0, 21.0]]), view.matrix)[0], centre_of_light(view.image), atol=0.1
    )


@pytest.mark.parametrize("degrees", [90.0, 180.0, 270.0, 35.0, -35.0])
def test_turned_points_follow_their_pixels(degrees):
    view = rotated_view(scaled_view(dot(90, 60, 30, 21), 2.0), degrees)
    assert np.allclose(
        transform_points(np.array([[30.0, 21.0]]), view.matrix)[0], centre_of_light(view.image), atol=0.1
    )


def test_a_quarter_turn_moves_pixels_exactly():
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    assert np.array_equal(rotated_view(scaled_view(image, 1.0), 90.0).image, np.rot90(image))


def test_matrices_compose_from_right_to_left():
    first, second = np.random.default_rng(0).normal(size=(2, 2, 3))
    points = np.array([[3.0, 4.0], [-1.0, 2.0]])
    both = transform_points(transform_points(points, first), second)
    assert np.allclose(transform_points(points, compose(second, first)), both)


def test_bounding_boxes_hold_all_points():
    assert bounding_box(np.array([[3.0, 9.0], [-1.0, 2.0], [2.0, 5.0]])) == (-1.0, 2.0, 3.0, 9.0)
