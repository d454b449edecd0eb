"""Means and intervals against hand-computed values."""

import numpy as np
import pytest
from scipy.stats import bootstrap as scipy_bootstrap

from diffpc.evaluate.stats import Rule, bootstrap, summarise, unavailable


def test_a_missed_face_is_left_out_or_counts_as_the_rule_says():
    values, persons = np.array([1.0, 3.0, np.nan, 2.0]), ["a", "a", "b", "b"]
    left = summarise(values, persons, Rule("x"))
    assert (left.value, left.count, left.persons, left.missed, left.policy) == (2.0, 3, 2, 1, "left out")
    counted = summarise(values, persons, Rule("x", missed=0.0, scale=10.0))
    assert (counted.value, counted.count, counted.policy) == (15.0, 4, "counted as 0")


def test_nobody_found_is_not_available():
    figure = summarise(np.full(2, np.nan), ["a", "b"], Rule("x"))
    assert figure.value is None and figure.missed == 2 and figure.note.startswith("not available")
    assert unavailable("FID", "weights").note == "not available: needs weights"


def test_persons_are_drawn_not_portraits():
    """Two persons whose portraits are each alike: the mean of a sample is 0, 1 or half, however many portraits."""
    low, high = bootstrap(np.repeat([0.0, 1.0], 100), ["a"] * 100 + ["b"] * 100)
    assert (low, high) == (0.0, 1.0)
    assert bootstrap(np.array([1.0, 2.0, 6.0]), ["a"] * 3) == (3.0, 3.0)


def test_the_interval_is_scipys_where_everyone_has_one_portrait():
    values = np.random.default_rng(0).normal(size=60)
    ours = bootstrap(values, [str(n) for n in range(60)], rounds=20_000)
    theirs = scipy_bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=1)
    assert ours == pytest.approx(tuple(theirs.confidence_interval), abs=0.01)


def test_the_same_call_gives_the_same_interval():
    values = np.random.default_rng(1).normal(size=30)
    persons = [str(n // 3) for n in range(30)]
    assert bootstrap(values, persons) == bootstrap(values, persons)
