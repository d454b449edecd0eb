import pytest

from diffpc.bench.start_up import SOURCE, Taken, by_package, commands, imports, summary, timed
from diffpc.errors import InputError

REPORT = """import time: self [us] | cumulative | imported package
import time:       100 |        100 |   torch._C
import time:       250 |        350 | torch
import time:        40 |         40 |     diffpc.errors
"""


def test_a_command_is_timed_and_a_failing_one_is_no_result(tmp_path):
    clock, processor = timed(["-c", "sum(range(1000000))"], SOURCE)
    assert clock > 0 and processor > 0
    with pytest.raises(InputError, match=r"-c raise SystemExit\(3\): ended with 3"):
        timed(["-c", "raise SystemExit(3)"], SOURCE)


def test_a_package_has_the_time_of_its_modules():
    assert by_package(REPORT) == pytest.approx({"torch": 350e-6, "diffpc": 40e-6})
    many = "".join(f"import time: {n:9} | {n:10} |   library{n}\n" for n in range(100, 120))
    assert list(by_package(REPORT + many))[-1] == "diffpc" and len(by_package(REPORT + many)) == 16
    assert "diffpc" in imports("import diffpc", SOURCE)


def test_help_is_among_the_commands_and_works(tmp_path):
    assert timed(commands(tmp_path / "a.jpg", tmp_path / "b.png")["diffpc --help"], SOURCE)


def test_versions_are_compared_round_by_round():
    this, other = Taken([2.0, 2.0], [1.0, 3.0]), Taken([4.0, 4.0], [2.0, 3.0])
    found = summary({"this": {"a": this}, "other": {"a": other}})
    assert found["this / other, processor seconds"]["a"]["values"] == (0.5, 1.0)
    assert found["this"]["a"]["seconds"]["median"] == 2.0
    assert "this / other, processor seconds" not in summary({"this": {"a": this}})
