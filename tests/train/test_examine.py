from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from diffpc.errors import InputError
from diffpc.face3d.predict import photo_points, render_condition
from diffpc.images import read_image
from diffpc.photos import Photo
from diffpc.settings import Framing
from diffpc.train.examine import (
    Refused,
    Square,
    _aims,
    examine,
    fitting_square,
    flat_params,
    full_params,
    training_square,
)
from diffpc.train.settings import ExamineSettings
from tests.train.people import encoded, frozen_pipeline, portrait

FRAMING = Framing(height=(0.5, 0.7), x=(0.4, 0.6), y=(0.4, 0.8))
BOX = (101.25, 81.25, 181.25, 201.25)
"""80 wide, 120 high; the centre is 141.75, 141.75 from the photo's corner."""

MIDDLE = (0.5, 0.5, 0.5)


@pytest.fixture(scope="module")
def eyes():
    return frozen_pipeline().eyes


@pytest.fixture(scope="module")
def photo_of(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")

    def written(image, name="photo.png"):
        content = image if isinstance(image, bytes) else encoded(image, "PNG")
        (folder / name).write_bytes(content)
        return Photo(f"ada/{name}", "ada", (), folder / name, len(content))

    return written


def test_the_face_gets_the_wanted_height_and_place():
    # 120 / 0.6 = 200 a side; 141.75 - 0.5 * 200 = 41.75, 141.75 - 0.6 * 200 = 21.75
    assert training_square(BOX, (400, 300), FRAMING, MIDDLE) == Square(42, 22, 200)
    # 120 / 0.5 = 240 a side; 141.75 - 0.4 * 240 = 45.75, 141.75 - 0.5 * 240 = 21.75
    assert training_square(BOX, (400, 300), FRAMING, (0.0, 0.0, 0.25)) == Square(46, 22, 240)


def test_the_square_stays_in_the_photo():
    # 42 + 200 would be 6 px beyond a photo 236 px wide: the face's centre comes to 0.53 of the square
    assert training_square(BOX, (236, 300), FRAMING, MIDDLE) == Square(36, 22, 200)
    # at most 180 px a side: the face is 0.667 of it instead of 0.6
    assert training_square(BOX, (400, 180), FRAMING, MIDDLE) == Square(52, 0, 180)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ((400, 160), "its height would be 0.75 of the picture, the model's framing is 0.5 to 0.7"),
        ((206, 300), "its x would be 0.68 of the picture, the model's framing is 0.4 to 0.6"),
    ],
)
def test_a_photo_that_ends_at_the_face_is_refused(frame, message):
    with pytest.raises(InputError, match=message):
        training_square(BOX, frame, FRAMING, MIDDLE)


def test_a_face_near_the_border_is_taken_closer():
    # 200 px a side the centre would be at (141.75 - 18) / 200 = 0.62; 120 / 0.7 = 171 leave 141.75 - 0.5 * 171 = 56.25,
    # but for the border 218 - 171 = 47
    with pytest.raises(InputError, match=r"its x would be 0\.62"):
        training_square(BOX, (218, 300), FRAMING, MIDDLE)
    assert fitting_square(BOX, (218, 300), FRAMING, MIDDLE) == Square(47, 39, 171)
    assert fitting_square(BOX, (400, 300), FRAMING, MIDDLE) == Square(42, 22, 200)
    with pytest.raises(InputError, match=r"its x would be 0\.62"):
        fitting_square(BOX, (206, 300), FRAMING, MIDDLE)


def test_without_a_framing_the_largest_square_is_taken():
    assert training_square(BOX, (400, 300), Framing(), MIDDLE) == Square(0, 0, 300)
    assert training_square(BOX, (400, 200), Framing(), MIDDLE) == Square(42, 0, 200)
    assert training_square((301.0, 1.0, 399.0, 299.0), (400, 300), Framing(), MIDDLE) == Square(100, 0, 300)


def test_points_and_3d_faces_move_with_the_square(eyes, astronaut):
    square = Square(10, 20, 50)
    points = square.points(np.array([[10.0, 20.0], [59.5, 69.5]]), 100)
    assert points.tolist() == [[0.5, 0.5], [99.5, 99.5]]  # the first pixel's centre, the last one's edge
    params = eyes.params(astronaut, eyes.face(astronaut, None, "astronaut"))
    placed = Square(140, 30, 170).params(params, 64)
    wanted = Square(140, 30, 170).points(photo_points(params, eyes.model), 64)
    assert np.allclose(photo_points(placed, eyes.model), wanted, atol=1e-6)
    view = (140.0, 30.0, 170.0, 170.0)
    whole = render_condition(params, eyes.model, 64, 64, view)
    assert torch.allclose(render_condition(placed, eyes.model, 64, 64), whole, atol=1e-4)


def test_aims_are_spread_about_the_middle_and_belong_to_the_key():
    aims = np.array([_aims(f"ada/{number}.jpg", 0.5) for number in range(200)])
    assert aims.min() >= 0.25 and aims.max() < 0.75 and np.allclose(aims.mean(axis=0), 0.5, atol=0.04)
    assert _aims("ada/7.jpg", 0.5) == tuple(aims[7])
    assert _aims("ada/7.jpg", 0.0) == (0.5, 0.5, 0.5)


def test_an_examined_photo_is_what_inference_would_see(eyes, astronaut, photo_of):
    photo = photo_of(portrait(astronaut, 0))
    image = read_image(photo.file)
    face = eyes.face(image, None, "photo")
    found = examine(photo, eyes, ExamineSettings(size=64, patches=True))
    features = eyes.features(image, face)
    assert (found.key, found.layout, found.picture.shape) == (
        "ada/photo.png",
        "eye_corners_nose",
        (64, 64, 3),
    )
    assert torch.equal(found.features.global_vector, features.global_vector)
    assert torch.equal(found.features.patches, features.patches)
    assert np.array_equal(found.features.cut, features.cut)
    assert torch.equal(found.params.expression, eyes.params(image, face).expression)
    points = photo_points(found.params, eyes.model)
    low, high = points.min(axis=0), points.max(axis=0)
    framing, middle = eyes.settings.framing, (low + high) / 2 / 64
    assert framing.height[0] < (high[1] - low[1]) / 64 < framing.height[1]
    assert framing.x[0] < middle[0] < framing.x[1] and framing.y[0] < middle[1] < framing.y[1]
    inside = (found.landmarks > low) & (found.landmarks < high)
    assert inside.all() and found.i_3d[0].sum() == 0 and found.i_3d.max() > 0.3
    plain = examine(photo, eyes, ExamineSettings(size=64))
    assert plain.features.patches.shape == (1, 0, 133)
    assert torch.equal(plain.features.global_vector, features.global_vector)


def test_photos_are_refused_with_a_reason(eyes, astronaut, photo_of):
    one, settings = portrait(astronaut, 1), ExamineSettings(size=64)
    blank = np.full((40, 40, 3), 90, np.uint8)
    large = ExamineSettings(size=512)
    cases = [
        (photo_of(b"no photo", "bad.jpg"), settings, "decode", "is not an image"),
        (photo_of(blank, "blank.png"), settings, "detect", "no face found in ada/blank.png"),
        (photo_of(np.hstack([one, one])), settings, "detect", "2 faces of similar size in ada/photo.png"),
        (
            photo_of(one[40:230, 70:200], "near.png"),
            settings,
            "frame",
            "ada/near.png: too little of the photo",
        ),
        (photo_of(one, "small.png"), large, "frame", "enlarged to 512, more than 2 times"),
    ]
    for photo, asked, stage, reason in cases:
        found = examine(photo, eyes, asked)
        assert isinstance(found, Refused)
        assert (found.key, found.stage) == (photo.key, stage)
        assert reason in found.reason


def test_a_photo_that_is_gone_is_no_fault_of_the_photo(eyes):
    with pytest.raises(InputError, match="cannot be read"):
        examine(Photo("a/b.jpg", "a", (), Path("gone.jpg"), 3), eyes, ExamineSettings(size=64))


def test_flat_params_are_undone(eyes, astronaut):
    params = eyes.params(astronaut, eyes.face(astronaut, None, "astronaut"))
    again = full_params(flat_params(replace(params, frame=(512, 300))))
    assert (again.frame, again.crop.resolution) == ((512, 300), params.crop.resolution)
    assert again.crop.centre == pytest.approx(params.crop.centre) and torch.equal(again.shape, params.shape)
    assert torch.equal(again.camera, params.camera) and again.crop.size == pytest.approx(params.crop.size)


def test_a_mirrored_photo_is_seen_mirrored(astronaut, eyes, photo_of):
    image = portrait(astronaut, 1)
    photo = photo_of(image)
    mirrored = examine(photo.mirror(), eyes, ExamineSettings(size=64))
    flip = photo_of(np.ascontiguousarray(image[:, ::-1]), "flipped.png")
    flipped = examine(flip, eyes, ExamineSettings(size=64))
    assert mirrored.key == f"{photo.key} mirrored"
    assert torch.equal(mirrored.params.shape, flipped.params.shape)
    assert torch.equal(mirrored.features.global_vector, flipped.features.global_vector)
