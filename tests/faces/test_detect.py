import numpy as np
import pytest

from diffpc.errors import InputError, UsageError
from diffpc.faces.detect import choose_face, largest_first, load_detector
from diffpc.types import Face


def face(side, x=0.0):
    return Face((x, 0.0, x + side, side), np.zeros((5, 2)), "eyes_nose_mouth", 0.9)


def test_faces_are_sorted_by_area_then_by_place():
    small, left, right = face(10.0), face(20.0, 1.0), face(20.0, 50.0)
    assert largest_first([small, right, left]) == (left, right, small)


def test_a_face_that_stands_out_is_chosen():
    faces = (face(100.0), face(70.0))  # 49 % of the area
    assert choose_face(faces, None, "a.jpg") is faces[0]


def test_an_index_counts_from_the_largest():
    faces = (face(100.0), face(99.0), face(10.0))
    assert choose_face(faces, 2, "a.jpg") is faces[2]


def test_similar_faces_need_a_choice():
    faces = (face(100.0), face(71.0, 200.0))
    with pytest.raises(
        InputError, match=r"a\.jpg.*0 at \(0, 0, 100, 100\); 1 at \(200, 0, 271, 71\).*--face N"
    ):
        choose_face(faces, None, "a.jpg")


def test_no_face_says_what_was_tried():
    with pytest.raises(InputError, match=r"no face found in a\.jpg \(tried: two ways\); use a photo"):
        choose_face((), None, "a.jpg", "two ways")


@pytest.mark.parametrize("index", [-1, 2])
def test_an_index_out_of_range_is_a_usage_error(index):
    with pytest.raises(UsageError, match=rf"--face {index} is out of range.*0 to 1"):
        choose_face((face(100.0), face(10.0)), index, "a.jpg")


def test_unknown_names_list_the_valid_ones():
    with pytest.raises(UsageError, match="dlib, insightface"):
        load_detector("haar")
