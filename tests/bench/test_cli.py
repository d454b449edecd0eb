import subprocess
import sys

import pytest

from diffpc import cli
from diffpc.cli.bench import WHATS


def test_help_lists_what_can_be_measured(capsys):
    assert cli.main(["bench"]) == 0
    told = capsys.readouterr().out
    assert all(what in told for what in WHATS)


def test_an_unknown_benchmark_is_refused(capsys):
    assert cli.main(["bench", "speed"]) == 2
    assert "unknown benchmark 'speed'; choose one of: generate, train" in capsys.readouterr().err


@pytest.mark.parametrize("what", list(WHATS))
def test_options_are_listed_without_torch(what):
    program = f"""
import sys
from diffpc.cli import main
try:
    main(["bench", {what!r}, "--help"])
except SystemExit:
    sys.exit("torch" in sys.modules)
"""
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    assert "--output" in answer.stdout
