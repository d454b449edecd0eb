import pytest

from diffpc import cli
from diffpc.doctor import run, stages
from diffpc.doctor.report import Check, Diagnosis, reason_of, remedy_of
from diffpc.doctor.run import Options, examine, examined
from diffpc.errors import InputError, UsageError


def fine(options):
    return {
        "one": lambda: Check("one", "ok", "fine"),
        "two": broken,
        "three": lambda: Check("three", "ok", "too"),
    }


def broken():
    raise MemoryError("a library's own trouble\nin two lines")


@pytest.fixture
def areas(monkeypatch):
    """Replaces what is examined."""

    def replace(**places):
        monkeypatch.setattr(run, "AREAS", places)

    return replace


def here(name):
    return f"{__name__}:{name}"


def test_one_check_that_raises_stops_no_other(areas):
    areas(**{"machine": here("fine"), "files": "diffpc.doctor.none:at_all", "packages": here("fine")})
    heard = []
    found = examine(Options(), heard.append)
    assert heard == ["checking machine", "checking files", "checking packages"]
    assert [(check.area, check.name, check.status) for check in found.checks] == [
        ("machine", "one", "ok"),
        ("machine", "two", "broken"),
        ("machine", "three", "ok"),
        ("files", "files", "warning"),
        ("packages", "one", "ok"),
        ("packages", "two", "warning"),
        ("packages", "three", "ok"),
    ]
    assert found.checks[1].detail == "MemoryError: a library's own trouble in two lines"
    assert found.checks[1].remedy == "pip install --force-reinstall diffpc"


def test_an_area_without_stages_does_not_count_as_working(areas):
    areas(model="diffpc.doctor.none:at_all")
    found = examine(Options(), lambda line: None)
    assert not found.works and found.checks[0].status == "broken"
    assert not Diagnosis(()).works
    assert not Diagnosis((Check("a", "ok", "", area="model"), Check("b", "broken", "", area="model"))).works
    warned = Check("c", "warning", "", area="files")
    assert Diagnosis((Check("a", "ok", "", area="model"), warned)).works


def test_only_stages_are_timed():
    assert examined("model", "x", lambda: Check("x", "ok", "")).seconds is not None
    assert examined("files", "x", lambda: Check("x", "ok", "")).seconds is None
    assert examined("model", "x", broken).seconds is None


def test_a_stage_that_fails_is_named_and_those_behind_it_are_not_tried(areas, monkeypatch, capsys):
    def fail(bench):
        raise UsageError("dlib is not installed; run: pip install dlib-bin")

    known = {name: stages.Stage(lambda bench: "done", "") for name in stages.STAGES}
    monkeypatch.setattr(stages, "STAGES", known | {"detect": stages.Stage(fail, "another")})
    areas(model=run.AREAS["model"])
    assert cli.main(["doctor"]) == 3
    lines = capsys.readouterr().out.splitlines()
    assert "  ok    load: done" in lines[1]
    assert lines[2:4] == [
        "  FAIL  detect: dlib is not installed; run: pip install dlib-bin",
        "          run: pip install dlib-bin",
    ]
    assert "  FAIL  decode: not tried, since detect failed" in lines
    assert lines[-1] == "the bundled model does NOT work on this machine"


def test_reasons_are_one_line_and_remedies_one_command():
    assert reason_of(InputError("a: is broken;\n get it")) == "a: is broken; get it"
    assert reason_of(ValueError()) == "ValueError"
    assert reason_of(OSError("x" * 1000)) == f"OSError: {'x' * 591}..."
    assert (
        remedy_of(UsageError("x; run: pip install 'diffpc[lora]'"), "other") == "pip install 'diffpc[lora]'"
    )
    assert remedy_of(InputError("x; download it"), "other") == "other"
