"""Fréchet and kernel distances against closed forms written here."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from diffpc.evaluate.distances import distance_figures, frechet, kernel


def sets(seed=0, shift=0.0):
    random = np.random.default_rng(seed)
    return random.normal(size=(60, 5)), random.normal(size=(40, 5)) * 1.5 + shift


def test_frechet_is_the_closed_form():
    real, made = sets(shift=0.7)
    first, second = (np.cov(one, rowvar=False) for one in (real, made))
    root = sqrtm(first @ second).real
    wanted = np.square(real.mean(0) - made.mean(0)).sum() + np.trace(first + second - 2 * root)
    assert frechet(real, made) == pytest.approx(wanted, rel=1e-6)
    assert frechet(real, real) == pytest.approx(0.0, abs=1e-6)


def test_kernel_is_near_the_unbiased_estimate_on_all():
    real, made = sets(shift=0.7)

    def cubic(one, two):
        return (one @ two.T / one.shape[1] + 1) ** 3

    within = [
        (k.sum() - np.trace(k)) / (len(k) * (len(k) - 1)) for k in (cubic(real, real), cubic(made, made))
    ]
    wanted = sum(within) - 2 * cubic(real, made).mean()
    mean, deviation = kernel(real, made)
    assert mean == pytest.approx(wanted, abs=3 * deviation / 10 + 0.05 * abs(wanted))
    assert kernel(real, made) == (mean, deviation)


def test_names_and_missed_faces():
    real, made = sets()
    made[3] = np.nan
    figures = distance_figures("judge", real, made)
    assert [one.name for one in figures] == ["Fréchet (judge)", "kernel x 1000 (judge)"]
    assert figures[0].count == 39 and "39 portraits against 60 photos" in figures[0].note
    assert [one.name for one in distance_figures("inception", real, made)] == ["FID", "KID x 1000"]
    assert distance_figures("inception", real, made[:3])[0].value is None
