"""`diffpc evaluate` from the command line: build, draw, score, report, and its refusals."""

import subprocess
import sys

import pytest

from diffpc.cli import main


def call(*words):
    return main(["evaluate", *map(str, words)])


def test_from_photos_to_a_report(benchmark, random_model, tmp_path, capsys):
    plan = ["--persons", 2, "--targets", 1, "--prompts", 2, "--seeds", 1, "--words", "plain"]
    common = ["--manifest", tmp_path / "m.jsonl", "--photos", benchmark.photos]
    assert (
        call(
            "build",
            "--kind",
            "persons",
            "--photos",
            benchmark.photos,
            "--output",
            tmp_path / "m.jsonl",
            *plan,
        )
        == 0
    )
    assert "2 persons, 4 portraits, sha256" in capsys.readouterr().out
    assert call("draw", *common, "--output", tmp_path / "out", "--model", random_model, "--steps", 1) == 0
    captured = capsys.readouterr()
    assert "4 of 4 portraits drawn" in captured.out and "2 of 2 persons drawn" in captured.err
    assert call("score", *common, "--pictures", tmp_path / "out", "--quiet") == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("| system | Sim (dlib)") and captured.err == ""
    assert (
        call("report", *common, "--systems", f"random={tmp_path / 'out'}", "--output", tmp_path / "report")
        == 0
    )
    assert (tmp_path / "report" / "report.html").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fly"], "unknown action 'fly'; choose one of: build, draw, score"),
        (["build", "--kind", "lfw", "--photos", "x", "--output", "y"], "--list is missing for --kind lfw"),
        (["report", "--manifest", "m", "--photos", "p", "--systems", "a", "--output", "o"], "No such file"),
        (
            ["draw", "--manifest", "M", "--photos", "p", "--output", "o", "--fast", "lightning"],
            "--fast lightning needs its weights; pass them as --unet, --lora or --base",
        ),
        (
            ["draw", "--manifest", "M", "--photos", "p", "--output", "o", "--memory", "less"],
            "--memory less: is unknown",
        ),
        (
            ["draw", "--manifest", "none.jsonl", "--photos", "p", "--output", "o"],
            "none.jsonl: cannot be read",
        ),
    ],
)
def test_refusals_are_one_line(benchmark, words, message, capsys):
    words = [benchmark.path if word == "M" else word for word in words]
    assert call(*words) in (2, 3)
    assert message in capsys.readouterr().err


def test_help_lists_the_actions(capsys):
    assert call("--help") == 0
    assert "ablate" in capsys.readouterr().out
    assert call() == 2


@pytest.mark.parametrize("action", ["draw", "score", "ablate"])
def test_help_loads_no_network_library(action):
    heavy = "{'torch', 'diffusers', 'transformers', 'cv2', 'dlib'}"
    program = f"""import sys
from diffpc.cli import main
try:
    main(["evaluate", "{action}", "--help"])
except SystemExit:
    print(sorted({heavy} & set(sys.modules)))"""
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip().endswith("[]")
