import numpy as np
import pytest
import torch

from diffpc.errors import InputError
from diffpc.face3d.crop import (
    crop_from_points,
    crop_image,
    crop_to_frame_ndc,
    paste_back,
)
from diffpc.face3d.render import render
from diffpc.faces import align
from diffpc.types import Crop

CROP = Crop(centre=(52.5, 38.25), size=61.0, resolution=48)


def crop_matrix(crop):
    return np.vstack([align.crop_matrix(crop), [0, 0, 1]])


def inverse_crop_matrix(crop):
    return np.vstack([align.invert(align.crop_matrix(crop)), [0, 0, 1]])


def photo(height=70, width=90, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def sample_by_hand(image, x, y):
    """Bilinear at one point, 0 outside."""
    column, row = int(np.floor(x)), int(np.floor(y))
    total = np.zeros(image.shape[2:])
    for i, weight_y in ((row, row + 1 - y), (row + 1, y - row)):
        for j, weight_x in ((column, column + 1 - x), (column + 1, x - column)):
            if 0 <= i < image.shape[0] and 0 <= j < image.shape[1]:
                total = total + weight_x * weight_y * image[i, j].astype(np.float64)
    return total


def test_box_is_smirks():
    points = np.array([[10.0, 20.0], [40.0, 25.0], [30.0, 61.0]])
    crop = crop_from_points(points, scale=1.4, resolution=224)
    # Width 30, height 41: int(35.5 * 1.4) = int(49.7).
    assert crop == Crop(centre=(25.0, 40.5), size=49.0, resolution=224)


def test_points_without_extent_are_refused():
    with pytest.raises(InputError, match="span no pixel"):
        crop_from_points(np.full((5, 2), 3.0), scale=1.4, resolution=224)


def test_matrix_is_the_closed_form_and_its_inverse_is_exact():
    point = np.array([17.3, 80.9, 1.0])
    x, y, _ = crop_matrix(CROP) @ point
    assert x == pytest.approx((17.3 - 52.5 + 30.5) * 47 / 61)
    assert y == pytest.approx((80.9 - 38.25 + 30.5) * 47 / 61)
    for matrix in (
        crop_matrix(CROP) @ inverse_crop_matrix(CROP),
        inverse_crop_matrix(CROP) @ crop_matrix(CROP),
    ):
        np.testing.assert_allclose(matrix, np.eye(3), atol=1e-13)


def test_matrix_agrees_with_skimages_fit():
    transform = pytest.importorskip("skimage.transform")
    left, top, size = 52.5 - 30.5, 38.25 - 30.5, 61.0
    corners = np.array([[left, top], [left, top + size], [left + size, top]])
    fit = transform.estimate_transform("similarity", corners, np.array([[0, 0], [0, 47], [47, 0]]))
    np.testing.assert_allclose(crop_matrix(CROP), fit.params, atol=1e-9)


def test_crop_pixels_by_hand():
    image = photo()
    pixels = crop_image(image, CROP)
    assert pixels.shape == (48, 48, 3)
    assert pixels.dtype == np.uint8
    for row, column in [(0, 0), (5, 40), (47, 47), (20, 21)]:
        x, y, _ = inverse_crop_matrix(CROP) @ [column, row, 1]
        assert np.abs(pixels[row, column] - np.floor(sample_by_hand(image, x, y))).max() <= 1
    exact = np.stack([[_at(image, row, column) for column in range(48)] for row in range(48)])
    assert np.mean(pixels != np.floor(exact)) < 1e-3


def _at(image, row, column):
    x, y, _ = inverse_crop_matrix(CROP) @ [column, row, 1]
    return sample_by_hand(image, x, y)


def test_warps_agree_with_skimages():
    transform = pytest.importorskip("skimage.transform")
    image, picture = photo(), np.random.default_rng(2).random((48, 48)).astype(np.float32)
    forward = transform.SimilarityTransform(matrix=crop_matrix(CROP))
    cropped = transform.warp(image, forward.inverse, output_shape=(48, 48), preserve_range=True)
    quantised = (picture * 255).astype(np.uint8)
    pasted = transform.warp(quantised, forward, output_shape=(70, 90), preserve_range=True)
    for ours, theirs in ((crop_image(image, CROP), cropped), (paste_back(picture, CROP, (90, 70)), pasted)):
        difference = np.abs(ours.astype(int) - theirs.astype(np.uint8).astype(int))
        assert difference.max() <= 1
        assert (difference > 0).mean() < 2e-3


def test_crop_at_the_photos_scale_copies_pixels():
    image = photo()
    # size / (resolution - 1) = 1, and crop pixel 0 is photo pixel (20, 10).
    crop = Crop(centre=(20 + 15.5, 10 + 15.5), size=31.0, resolution=32)
    assert np.array_equal(crop_image(image, crop), image[10:42, 20:52])


def test_beyond_the_photo_is_black_and_flat_areas_keep_their_value():
    image = np.full((40, 40, 3), 201, dtype=np.uint8)
    pixels = crop_image(image, Crop(centre=(0.0, 20.0), size=37.3, resolution=50))
    assert (pixels[:, :23] == 0).all()
    assert (pixels[10:40, 27:] == 201).all()


def test_paste_back_by_hand():
    generator = np.random.default_rng(1)
    picture = generator.random((48, 48)).astype(np.float32)
    pasted = paste_back(picture, CROP, (90, 70))
    assert pasted.shape == (70, 90)
    assert pasted.dtype == np.uint8
    quantised = (picture * 255).astype(np.uint8)
    for row, column in [(30, 40), (60, 70), (10, 80), (69, 0), (7, 22)]:
        x, y, _ = crop_matrix(CROP) @ [column, row, 1]
        assert abs(int(pasted[row, column]) - np.floor(sample_by_hand(quantised, x, y))) <= 1


def sphere():
    """A closed ball of radius 0.6 in the rasteriser's coordinates of a crop."""
    rows, columns = 24, 48
    polar, turn = torch.meshgrid(
        torch.linspace(0, torch.pi, rows), torch.linspace(0, 2 * torch.pi, columns + 1)[:-1], indexing="ij"
    )
    x, y, z = polar.sin() * turn.cos(), polar.cos(), polar.sin() * turn.sin()
    # In the world y is up and z towards the camera; the projection turns both round.
    vertices = torch.stack([0.6 * x + 0.1, -0.6 * y - 0.05, 10 - 0.6 * z], dim=-1).reshape(1, -1, 3)
    index = torch.arange(rows * columns).view(rows, columns)
    right = index.roll(-1, dims=1)
    a, b, c, d = (part.flatten() for part in (index[:-1], right[:-1], index[1:], right[1:]))
    return vertices, torch.cat([torch.stack([a, b, c], 1), torch.stack([b, d, c], 1)])


@pytest.mark.parametrize("frame", [(90, 70), (70, 100)])
def test_rendering_in_the_frame_agrees_with_paste_back(frame):
    vertices, faces = sphere()
    crop = Crop(centre=(40.5, 38.25), size=61.0, resolution=224)
    in_crop = render(vertices, faces, 224, 224)[0].numpy()
    pasted = paste_back(in_crop, crop, frame) / 255
    direct = render(crop_to_frame_ndc(crop, frame).apply(vertices), faces, frame[1], frame[0])[0].numpy()
    assert 0.7 < direct.max() < 0.8
    both = (pasted > 0.2) & (direct > 0.2)
    assert both.sum() > 0.95 * ((pasted > 0.2) | (direct > 0.2)).sum()
    assert np.abs(pasted - direct)[both].mean() < 0.01
    assert np.abs(_middle(pasted > 0.2) - _middle(direct > 0.2)).max() < 0.1


def _middle(mask):
    return np.array([axis.mean() for axis in mask.nonzero()])


def test_frame_map_puts_a_vertex_at_its_photo_pixel():
    crop = Crop(centre=(40.0, 30.0), size=20.0, resolution=224)
    vertex = torch.tensor([[[0.3, -0.7, 5.0]]])
    x, y, z = crop_to_frame_ndc(crop, (120, 80)).apply(vertex)[0, 0].tolist()
    pixel = inverse_crop_matrix(crop) @ [(0.3 + 1) * 112 - 0.5, (-0.7 + 1) * 112 - 0.5, 1]
    assert (x * 80 + 120 - 1) / 2 == pytest.approx(pixel[0], abs=1e-4)
    assert (y * 80 + 80 - 1) / 2 == pytest.approx(pixel[1], abs=1e-4)
    assert z == pytest.approx(5 * 20 * 224 / 223 / 80)


def test_view_shows_a_part_of_the_frame():
    vertices, faces = sphere()
    whole = render(crop_to_frame_ndc(CROP, (90, 70)).apply(vertices), faces, 70, 90)
    part_map = crop_to_frame_ndc(CROP, (90, 70), view=(30.0, 10.0, 40.0, 50.0))
    part = render(part_map.apply(vertices), faces, 50, 40)
    inner = (slice(None), slice(10, 60), slice(30, 70))
    assert (whole[inner] > 0.2).any()
    # Rounding may move an edge across a pixel's centre.
    assert ((whole[inner] - part).abs() > 1e-3).float().mean() < 0.01
