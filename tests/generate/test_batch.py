"""`diffpc generate --batch`: results, faults by line, going on."""

import json

import pytest

from diffpc import cli
from diffpc.errors import InputError, UsageError
from diffpc.generate.batch import Line, request_of
from diffpc.generate.request import Request
from diffpc.provenance import read_settings
from diffpc.records import read_lines

pytestmark = pytest.mark.usefixtures("kept_models")


@pytest.fixture
def run(random_model, astronaut_path, tmp_path, capsys):
    def call(code, jobs):
        path = tmp_path / "jobs.jsonl"
        path.write_text("".join(f"{one if isinstance(one, str) else json.dumps(one)}\n" for one in jobs))
        words = ["--batch", path, "--reference", astronaut_path, "--model", random_model, "--steps", 1]
        words += ["--output", tmp_path / "out", "--prompt", "a person", "--size", 64, 64]
        assert cli.main(["generate", *map(str, words)]) == code
        return capsys.readouterr()

    return call


def test_a_batch_goes_on_after_faults_and_after_a_stop(run, random_model, astronaut_path, tmp_path, capsys):
    jobs = [
        {"seed": 3},
        {"reference": "nowhere.jpg"},
        "",
        {"prompt": "a painting", "output": "sub/two.png", "count": 2, "pose": [20, 0, 0]},
        "no JSON",
        {"output": "00001.png"},
    ]
    first = run(4, jobs)
    assert "line 1: 00001.png\nline 4: sub/two-0.png, sub/two-1.png\n" in first.out
    assert "2 lines drawn, 0 drawn before, 3 failed" in first.out
    assert "line 2: nowhere.jpg: cannot be read" in first.err and "line 5: is not valid JSON" in first.err
    assert "line 6: output 00001.png is that of line 1 too" in first.err
    results = read_lines(tmp_path / "out" / "results.jsonl")
    assert [(one["line"], one["error"] is None) for one in results] == [
        (1, True),
        (2, False),
        (4, True),
        (5, False),
        (6, False),
    ]
    assert [one["seed"] for one in results[2]["portraits"]] == [0, 1]
    assert read_settings(tmp_path / "out" / "sub" / "two-0.png").prompt == "a painting"
    kept = (tmp_path / "out" / "00001.png").stat().st_mtime_ns

    second = run(0, [jobs[0], {"seed": 9, "output": "nine.png"}, "", jobs[3]])
    assert "line 2: nine.png\n1 lines drawn, 2 drawn before, 0 failed" in second.out
    assert (tmp_path / "out" / "00001.png").stat().st_mtime_ns == kept
    alone = [
        "generate",
        "--reference",
        astronaut_path,
        "--model",
        random_model,
        "--steps",
        1,
        "--prompt",
        "a person",
    ]
    alone += ["--size", 64, 64, "--seed", 3, "--output", tmp_path / "alone.png"]
    assert cli.main([str(word) for word in alone]) == 0
    assert (tmp_path / "alone.png").read_bytes() == (tmp_path / "out" / "00001.png").read_bytes()

    (tmp_path / "out" / "00001.png").unlink()
    assert "1 lines drawn, 0 drawn before" in run(0, [jobs[0]]).out


def test_a_person_is_identified_once(random_model, astronaut_path, tmp_path, monkeypatch):
    from diffpc.generate.batch import run_batch
    from diffpc.generate.session import Session
    from diffpc.pipeline import DiffPCPipeline

    calls = []
    described = DiffPCPipeline.describe
    monkeypatch.setattr(DiffPCPipeline, "describe", lambda *given: calls.append(1) or described(*given))
    jobs = tmp_path / "jobs.jsonl"
    jobs.write_text('{"seed": 1}\n{"seed": 2}\n')
    common = Request((astronaut_path,), prompt="", output=tmp_path / "out", model=str(random_model), steps=1)
    assert run_batch(jobs, common, Session()).drawn == 2
    assert calls == [1]


def test_a_line_is_a_request(tmp_path):
    common = Request((tmp_path / "a.jpg",), target=tmp_path / "t.jpg", prompt="p", steps=3)
    line = Line(7, '{"pose": [1, 2, 3], "identity": "me.safetensors", "face-pass": "on"}')
    found = request_of(line, common, tmp_path)
    assert (found.pose, found.target, found.reference) == ((1.0, 2.0, 3.0), None, ())
    assert (found.identity.name, found.face_pass, found.steps, found.prompt) == (
        "me.safetensors",
        "on",
        3,
        "p",
    )
    assert found.output == tmp_path / "00007.png"
    assert [
        one.name for one in request_of(Line(1, '{"reference": "b.jpg"}'), common, tmp_path).reference
    ] == ["b.jpg"]
    for text, kind, message in (
        ('{"stepps": 3}', UsageError, "unknown field 'stepps' in the line"),
        ('{"steps": "3"}', UsageError, "steps is '3', expected a whole number"),
        ('{"reference": [3]}', UsageError, "expected a path"),
        ('{"replay": "a.png"}', UsageError, "replay cannot be an option of a line"),
        ("[]", UsageError, "not a JSON object"),
        ('{"output": "../x.png"}', InputError, "leaves the folder"),
        ('{"output": "/x.png"}', InputError, "leaves the folder"),
    ):
        with pytest.raises(kind, match=message):
            request_of(Line(1, text), common, tmp_path)


def test_a_batch_that_cannot_begin(tmp_path, capsys):
    jobs = tmp_path / "jobs.jsonl"
    words = ["generate", "--batch", str(jobs), "--output", str(tmp_path / "out")]
    assert cli.main(words) == 3
    assert "cannot be read" in capsys.readouterr().err
    jobs.write_text("\n")
    assert cli.main(words) == 3
    assert "has 0 jobs" in capsys.readouterr().err
    assert cli.main(words[:-2]) == 2
    assert "--batch needs --output FOLDER" in capsys.readouterr().err
