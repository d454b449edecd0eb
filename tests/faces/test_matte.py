import numpy as np
import pytest

from diffpc.errors import UsageError
from diffpc.faces.matte import load_matter, neutralise, refine_edges
from diffpc.types import Face


def test_gray_stands_behind_the_person():
    photo = np.full((2, 2, 3), 200, np.uint8)
    matte = np.array([[1.0, 0.0], [0.5, 0.25]], np.float32)
    assert neutralise(photo, matte)[..., 0].tolist() == [[200, 127], [164, 145]]


def test_a_matte_of_another_size_is_refused():
    with pytest.raises(UsageError, match=r"\(3, 3\) does not fit"):
        neutralise(np.zeros((2, 2, 3), np.uint8), np.zeros((3, 3), np.float32))


def test_nothing_may_be_removed():
    face = Face((0.0, 0.0, 1.0, 1.0), np.zeros((5, 2)), "eyes_nose_mouth", 1.0)
    assert (load_matter("none")(np.zeros((4, 5, 3), np.uint8), face) == np.ones((4, 5))).all()


def test_refined_edges_follow_the_photos():
    full = np.zeros((80, 80, 3), np.uint8)
    full[:, 42:] = 230
    small = np.ascontiguousarray(full[::4, ::4])
    mask = np.zeros((20, 20), np.uint8)
    mask[:, 11:] = 1
    matte = refine_edges(mask, small, full, radius=2)
    assert matte.shape == (80, 80)
    assert matte[:, :36].max() < 0.1
    assert matte[:, 50:].min() > 0.9
    assert (matte[:, 43] - matte[:, 40]).min() > 0.3  # the step stands at the photo's edge, within 4 px of it
