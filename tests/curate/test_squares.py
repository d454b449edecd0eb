import random

import numpy as np
import pytest

from diffpc.curate.record import Square
from diffpc.curate.settings import PhotoSettings
from diffpc.curate.squares import TRIES, black_border, drawn_squares, side_range

BOX = (100.0, 120.0, 200.0, 220.0)


def test_side_range_keeps_two_per_cent_of_face():
    # The face's area is 10,000: at 2 % of it the square has 500,000 px, a side of 707.1.
    assert side_range(BOX, (2000, 3000), PhotoSettings()) == (256.0, pytest.approx(707.1, abs=0.01))
    assert side_range(BOX, (2000, 3000), PhotoSettings(side=10)) == (150.0, pytest.approx(707.1, abs=0.01))
    assert side_range(BOX, (400, 300), PhotoSettings(side=10)) == (150.0, 300.0)


def test_squares_lie_in_the_photo_and_hold_the_face():
    settings, frame = PhotoSettings(side=100), (640, 480)
    for seed in range(50):
        sides = side_range(BOX, frame, settings)
        squares = list(drawn_squares(BOX, frame, sides, random.Random(seed)))
        assert len(squares) == TRIES
        for square in squares:
            assert 0 <= square.left <= 640 - square.side and 0 <= square.top <= 480 - square.side
            assert square.left <= 100 and square.left + square.side >= 200
            assert square.top <= 120 and square.top + square.side >= 220
            assert 100 * 100 / square.side**2 >= settings.face_share


def test_the_seed_alone_decides():
    def draw(seed):
        return list(drawn_squares(BOX, (640, 480), (150.0, 480.0), random.Random(seed)))

    assert draw("a") == draw("a") != draw("b")


def test_black_border_counts_the_strips_alone():
    image = np.full((200, 200, 3), 90, np.uint8)
    image[50:150, 50:150] = 0  # inside: does not count
    assert black_border(image, Square(0, 0, 200)) == 0.0
    image[:, :6] = 2  # the whole left strip
    assert black_border(image, Square(0, 0, 200)) == pytest.approx(6 * 200 / (200**2 - 188**2))
