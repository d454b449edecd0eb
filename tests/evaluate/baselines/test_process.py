"""The contract of baselines, with a process that speaks it and draws plain pictures."""

import ast
from pathlib import Path

import pytest

from diffpc.errors import InputError, UsageError
from diffpc.evaluate.baselines.process import BASELINES, PROGRAMS, ProcessSystem
from diffpc.evaluate.draw import LOG, System, draw
from diffpc.images import read_image
from diffpc.records import read_json, read_lines
from diffpc.weights import sha256

FAKE = Path(__file__).with_name("fake.py")


@pytest.fixture
def weights(tmp_path):
    (tmp_path / "weights.bin").write_bytes(b"weights")
    return tmp_path / "weights.bin"


def started(weights, **more):
    settings = {"source": "x", "base": "hub/sdxl", "weights": str(weights), **more}
    return ProcessSystem("photomaker_v2", settings, program=FAKE)


def test_a_process_draws_the_benchmark(benchmark, weights, tmp_path):
    with started(weights) as system:
        assert isinstance(system, System)
        done = draw(benchmark.manifest, benchmark.photos, system, tmp_path / "out", lambda line: None)
    assert (done.drawn, done.failed) == (12, 0)
    case = benchmark.manifest.cases()[0]
    assert read_image(tmp_path / "out" / case.name)[0, 0].tolist() == [case.of.seeds[0], 0, 0]
    assert all(line["seconds"]["draw"] >= 0 for line in read_lines(tmp_path / "out" / LOG))
    system = read_json(tmp_path / "out" / "system.json", "")["system"]
    assert system["settings"]["weights"] == sha256(weights) and str(tmp_path) not in str(system)
    assert system["says"]["name"] == "fake" and system["name"] == "photomaker_v2"


def test_a_refusal_is_no_fault(benchmark, weights, tmp_path):
    with started(weights, refuse=0) as system:
        done = draw(benchmark.manifest, benchmark.photos, system, tmp_path / "out", lambda line: None)
    assert (done.drawn, done.failed) == (0, 12)
    assert {line["error"] for line in read_lines(tmp_path / "out" / LOG)} == {
        "no face found in the reference"
    }


@pytest.mark.parametrize(
    ("fault", "message"),
    [("load", "ended .*no weights here"), ("crash", "ended .*out of memory"), ("silent", "drew nothing for")],
)
def test_a_fault_is_told_in_the_programs_words(benchmark, weights, tmp_path, fault, message):
    with pytest.raises(InputError, match=message), started(weights, fault=fault) as system:
        draw(benchmark.manifest, benchmark.photos, system, tmp_path / "out", lambda line: None)


def test_unknown_names_and_missing_settings():
    with pytest.raises(UsageError, match="unknown baseline 'x'; choose one of: faceid_plus_v2, instantid"):
        ProcessSystem("x", {})
    with pytest.raises(UsageError, match="instantid needs the settings weights, base, insightface"):
        ProcessSystem("instantid", {"source": "x"})


@pytest.mark.parametrize("name", BASELINES)
def test_every_program_has_an_environment_and_uses_the_settings_it_asks_for(name):
    path = PROGRAMS / BASELINES[name].program
    assert path.with_suffix(".txt").read_text().strip()
    tree = ast.parse(path.read_text(), feature_version=(3, 9))
    read = {
        node.slice.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant)
    }
    assert set(BASELINES[name].needs) <= read
    assert {node.name for node in tree.body if isinstance(node, ast.FunctionDef)} >= {"load"}


def test_the_trigger_word_stands_behind_the_person():
    import importlib.util
    import sys

    sys.path.insert(0, str(PROGRAMS))
    try:
        spec = importlib.util.spec_from_file_location("photomaker_v2", PROGRAMS / "photomaker_v2.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(PROGRAMS))
    assert module.triggered("a person in a boat") == "a person img in a boat"
    assert module.triggered("a portrait of a man, smiling") == "a portrait of a man img, smiling"
    assert module.triggered("a wall") == "a person img, a wall"
