import json

import pytest

from diffpc.bench.figures import figure, interval, ratio, write_json


def test_a_figure_has_median_and_quartiles():
    found = figure([5.0, 1.0, 4.0, 2.0, 3.0])
    assert (found.n, found.median, found.quartiles) == (5, 3.0, (2.0, 4.0))
    assert found.values == (5.0, 1.0, 4.0, 2.0, 3.0)
    assert found.p95 == pytest.approx(4.8)  # a fifth of the way from 5 back to 4


def test_one_measurement_is_its_own_median_and_quartiles():
    assert (figure([7.0]).median, figure([7.0]).quartiles) == (7.0, (7.0, 7.0))


def test_a_ratio_is_taken_round_by_round():
    assert ratio([2.0, 3.0, 40.0], [1.0, 2.0, 10.0]).values == (2.0, 1.5, 4.0)
    with pytest.raises(ValueError):
        ratio([1.0], [1.0, 2.0])


def test_the_interval_holds_the_median_and_belongs_to_the_seed():
    values = [float(value) for value in range(1, 22)]
    low, high = interval(values)
    assert 5 <= low < 11 < high <= 17
    assert interval(values) == (low, high)
    assert interval([2.0, 2.0]) == (2.0, 2.0)


def test_results_are_written(tmp_path):
    write_json(tmp_path / "new" / "found.json", {"a": [1, 2.5]})
    assert json.loads((tmp_path / "new" / "found.json").read_text()) == {"a": [1, 2.5]}
