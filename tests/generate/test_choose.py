import pytest

from diffpc.eyes import Likeness
from diffpc.generate.choose import best, scores

ALIKE = [Likeness(0.8, 4.0, 1.0), Likeness(0.6, 2.0, 1.0), Likeness(None, None, None)]


def test_scores_by_hand():
    """Two candidates lie one deviation from their mean: 1 - 1/2, and -1 + 1/2; equal expressions say nothing."""
    assert scores(ALIKE) == [pytest.approx(0.5), pytest.approx(-0.5), None]
    assert scores(ALIKE[2:]) == [None] and scores([]) == []
    assert scores([Likeness(0.5, 1.0, 1.0)]) == [0.0]


def test_the_best_come_first_and_those_without_a_face_last():
    assert best([ALIKE[2], ALIKE[1], ALIKE[0]], 3) == [2, 1, 0]
    assert best(ALIKE, 1) == [0]
    both = [Likeness(0.8, 2.0, 1.0), Likeness(0.8, 1.0, 1.0), Likeness(0.8, 2.0, 1.0)]
    assert best(both, 3) == [1, 0, 2]  # of equals the first
