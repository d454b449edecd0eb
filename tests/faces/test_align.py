import numpy as np
import pytest

from diffpc.faces.align import (
    ARCFACE_112,
    DLIB_150,
    NEUTRAL,
    AlignedFace,
    ChipTemplate,
    align,
    alignment_matrix,
    crop_matrix,
    cut_crop,
    eye_centres,
    face_crop,
    fit_similarity,
    invert,
    paste_back,
    supersampling,
    transform_points,
    warp,
)
from diffpc.types import Face

LAYOUTS = ("eyes_nose_mouth", "eye_corners_nose")


def similarity(scale, degrees, shift):
    angle = np.deg2rad(degrees)
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.concatenate([linear, np.array(shift, float)[:, None]], axis=1)


def umeyama(source, target):
    """The published form, by singular values."""
    centred, goal = source - source.mean(0), target - target.mean(0)
    u, values, vt = np.linalg.svd(goal.T @ centred / len(source))
    signs = np.array([1, np.sign(np.linalg.det(u @ vt))])
    linear = u @ np.diag(signs) @ vt * (values * signs).sum() / centred.var(0).sum()
    return np.concatenate([linear, (target.mean(0) - linear @ source.mean(0))[:, None]], axis=1)


def test_fit_recovers_a_known_similarity():
    points = np.random.default_rng(0).normal(size=(5, 2)) * 40
    matrix = similarity(0.37, 28, (12, -5))
    assert np.allclose(fit_similarity(points, transform_points(points, matrix)), matrix)


@pytest.mark.parametrize("seed", range(5))
def test_fit_is_umeyamas_even_where_a_mirror_would_fit_better(seed):
    random = np.random.default_rng(seed)
    source, target = random.normal(size=(2, 5, 2)) * 30
    assert np.allclose(fit_similarity(source, target), umeyama(source, target))
    mirrored = source * [-1, 1]
    assert np.linalg.det(fit_similarity(source, mirrored)[:, :2]) > 0


def test_the_inverse_is_exact():
    matrix = similarity(0.21, -140, (700, 33))
    points = np.random.default_rng(1).uniform(0, 4000, size=(50, 2))
    assert np.abs(transform_points(transform_points(points, matrix), invert(matrix)) - points).max() < 1e-9


@pytest.mark.parametrize("template", [ARCFACE_112, DLIB_150], ids=["arcface", "dlib"])
def test_both_layouts_of_a_template_have_the_eyes_in_one_place(template):
    first, second = (eye_centres(template.points[layout], layout) for layout in LAYOUTS)
    assert np.allclose(first, second)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("template", [ARCFACE_112, DLIB_150], ids=["arcface", "dlib"])
def test_landmarks_that_match_the_template_land_on_it(template, layout):
    photo = transform_points(template.points[layout], similarity(2.0, 17, (300, 200)))
    matrix = alignment_matrix(photo, layout, template)
    slack = 0.5 if template.dlib_rules else 1e-9  # dlib's inclusive extent stretches the chip a little
    assert np.abs(transform_points(photo, matrix) - template.points[layout]).max() < slack


def test_chips_are_dlibs_to_a_gray_level(astronaut, detector):
    dlib = pytest.importorskip("dlib")
    shape = detector._predictor(astronaut, dlib.get_frontal_face_detector()(astronaut)[0])
    points = np.array([(point.x, point.y) for point in shape.parts()], float)
    face = Face((0.0, 0.0, 1.0, 1.0), points, "eye_corners_nose", 1.0)
    theirs = dlib.get_face_chip(astronaut, shape, size=150, padding=0.25).astype(int)
    ours = align(astronaut, face, DLIB_150).pixels
    assert np.abs(ours - theirs).max() <= 1


def test_pasting_back_restores_the_photo(astronaut, astronaut_face):
    template = ChipTemplate(300, {k: v * 2 for k, v in DLIB_150.points.items()}, antialias=True)
    aligned = align(astronaut, astronaut_face, template)
    assert isinstance(aligned, AlignedFace)
    blank = np.zeros_like(astronaut)
    pasted = paste_back(blank, aligned.pixels, aligned.matrix)
    inside = pasted.any(axis=2)
    assert inside.sum() > 0.9 * 300**2 * abs(np.linalg.det(invert(aligned.matrix)[:, :2]))
    difference = np.abs(pasted[inside].astype(int) - astronaut[inside])
    assert difference.mean() < 3
    unchanged = paste_back(astronaut, aligned.pixels, aligned.matrix)
    assert np.array_equal(unchanged[~inside], astronaut[~inside])


def test_gray_stands_outside_the_photo():
    photo = np.full((40, 60, 3), 200, np.uint8)
    chip = warp(photo, similarity(1.0, 0, (100, 0)), 120)
    assert (chip[:, :99] == NEUTRAL).all()
    assert (chip[5:35, 105:] == 200).all()


def test_coarse_chips_average_what_they_cover():
    board = np.indices((400, 400)).sum(0) % 2 * 255
    photo = np.repeat(board[..., None], 3, axis=2).astype(np.uint8)
    matrix = similarity(0.25, 0, (-0.375, -0.375))
    assert supersampling(matrix) == 4
    assert np.abs(warp(photo, matrix, 100)[2:-2, 2:-2].astype(int) - 127).max() <= 1


def test_a_face_crop_is_a_square_around_the_box():
    face = Face((100.0, 200.0, 180.0, 260.0), np.zeros((5, 2)), "eyes_nose_mouth", 1.0)
    crop = face_crop(face, resolution=224)
    assert (crop.centre, crop.resolution) == ((140, 230), 224)
    assert crop.size == pytest.approx(1.3 * 80)
    corners = np.array([[140.0 - 52, 230 - 52], [140 + 52, 230 + 52]])
    assert np.allclose(transform_points(corners, crop_matrix(crop)), [[0, 0], [223, 223]])


def test_a_crop_that_leaves_the_photo_is_gray_there(astronaut):
    face = Face((0.0, 0.0, 40.0, 40.0), np.zeros((5, 2)), "eyes_nose_mouth", 1.0)
    crop = cut_crop(astronaut, face_crop(face, resolution=52))
    assert crop.shape == (52, 52, 3)
    assert (crop[:5] == NEUTRAL).all()
    assert np.abs(crop[10:45, 10:45].astype(int) - astronaut[4:39, 4:39]).mean() < 8
