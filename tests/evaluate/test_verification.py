"""Thresholds and accuracies by hand and against scikit-like counting."""

import numpy as np
import pytest

from diffpc.errors import InputError
from diffpc.evaluate.verification import (
    Pair,
    area,
    best_threshold,
    calibrated,
    load_calibration,
    read_pairs,
    save_calibration,
    similarities,
    threshold_at,
)


def test_official_pairs_are_read(tmp_path):
    (tmp_path / "p.txt").write_text("2\nAda\t1\t12\nBob\t3\nBob\t2\tAda\t4\n".replace("Bob\t3\n", ""))
    assert read_pairs(tmp_path / "p.txt") == [
        Pair("Ada/Ada_0001.jpg", "Ada/Ada_0012.jpg", True),
        Pair("Bob/Bob_0002.jpg", "Ada/Ada_0004.jpg", False),
    ]
    (tmp_path / "p.txt").write_text("2\nAda\tone\n")
    with pytest.raises(InputError, match="is no list of pairs"):
        read_pairs(tmp_path / "p.txt")


def test_one_in_a_hundred_passes():
    different = np.arange(200.0)
    similarity, same = np.append(different, 500.0), np.append(np.zeros(200, bool), True)
    threshold = threshold_at(similarity, same, 0.01)
    assert (different >= threshold).sum() == 2
    assert (different >= threshold_at(similarity, same, 0.0)).sum() == 0


def test_the_best_threshold_and_the_area():
    similarity = np.array([0.1, 0.4, 0.3, 0.9])
    same = np.array([False, False, True, True])
    # At 0.9: three right; at 0.3: three right. The first of equals is taken.
    best = best_threshold(similarity, same)
    assert ((similarity >= best) == same).sum() == 3
    assert area(similarity, same) == 0.75
    assert area(np.array([1.0, 1.0]), np.array([True, False])) == 0.5


def vectors(count=80, seed=0):
    """Two photos per person around a common offset that hides who is who."""
    random = np.random.default_rng(seed)
    persons = random.normal(size=(count, 6))
    offset = np.array([30.0, 0, 0, 0, 0, 0])
    found = {
        f"{n}/{k}": persons[n] + 0.3 * random.normal(size=6) + offset for n in range(count) for k in (0, 1)
    }
    pairs = [Pair(f"{n}/0", f"{n}/1", True) for n in range(count)]
    return found, pairs + [
        Pair(f"{n}/0", f"{(n + k) % count}/1", False) for n in range(count) for k in (1, 2, 3)
    ]


def test_centring_spreads_what_an_offset_presses_together(tmp_path):
    known, pairs = vectors()
    centred = calibrated("dlib", known, (pairs, "train"), (pairs, "test"), True)
    raw = calibrated("dlib", known, (pairs, "train"), (pairs, "test"), False)
    assert centred.tested.area > 0.99 and raw.tested.area > 0.99
    assert raw.threshold > 0.99 > centred.threshold and raw.offset is None
    assert centred.tested.false_accepts <= 0.01 and centred.tested.accuracy > 0.9
    save_calibration(tmp_path / "c.json", centred)
    assert load_calibration("dlib", tmp_path / "c.json") == centred
    with pytest.raises(InputError, match="is the calibration of 'dlib', not of 'judge'"):
        load_calibration("judge", tmp_path / "c.json")


def test_pairs_without_faces_are_left_out():
    known, pairs = vectors(4)
    del known["0/0"]
    scores, same = similarities(pairs, known, None)
    assert len(scores) == len(pairs) - 4 and same.sum() == 3
    with pytest.raises(InputError, match="pairs of one and of two persons are needed"):
        similarities(pairs[:2], known, None)


@pytest.mark.parametrize("embedder", ["dlib", "judge"])
def test_shipped_calibrations_hold_on_other_persons(embedder):
    found = load_calibration(embedder)
    assert found is not None and found.tested is not None
    assert found.tested.source == "pairsDevTest" and found.tested.pairs > 900
    assert found.tested.false_accepts < 0.03 and found.tested.area > 0.8


def test_an_embedder_without_one():
    assert load_calibration("arcface") is None
