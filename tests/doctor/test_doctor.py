"""The whole examination, once, on the real bundled model and an empty folder of models."""

import contextlib
import io
import json

import pytest

from diffpc import cli
from diffpc.external.table import ASSETS


@pytest.fixture(scope="module")
def answer(tmp_path_factory):
    """Exit code and JSON of `diffpc doctor --json`."""
    pytest.importorskip("dlib")
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setenv("DIFFPC_ASSETS", str(tmp_path_factory.mktemp("assets") / "none"))
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        code = cli.main(["doctor", "--json"])
    return code, json.loads(printed.getvalue())


def checks(answer, area):
    return {check["name"]: check for check in answer[1]["checks"] if check["area"] == area}


def test_the_bundled_model_works_stage_by_stage(answer):
    code, found = answer
    assert code == 0 and found["works"] is True
    stages = checks(answer, "model")
    assert list(stages) == ["load", "detect", "embed", "3D", "identity", "draw", "decode"]
    assert all(stage["status"] == "ok" and stage["seconds"] > 0 for stage in stages.values())
    assert stages["embed"]["detail"] == "128 numbers"
    assert stages["identity"]["detail"] == "32 tokens"
    assert stages["decode"]["detail"] == "128 x 128 pixels"


def test_the_machine_is_described(answer):
    machine = checks(answer, "machine")
    assert set(machine) == {"python", "platform", "torch", "cuda", "mps", "memory", "disk", "threads"}
    assert machine["python"]["status"] == machine["torch"]["status"] == "ok"
    assert "free for" in machine["disk"]["detail"] and "of" in machine["threads"]["detail"]


def test_what_is_not_here_is_no_fault_and_has_its_command(answer):
    files = checks(answer, "files")
    assert list(files) == list(ASSETS)
    for name, check in files.items():
        assert check["status"] == "absent" and check["remedy"] == f"diffpc assets fetch {name}"
    back = checks(answer, "back ends")
    assert back["predictor smirk"]["status"] == "absent"
    assert back["predictor smirk"]["remedy"] == "diffpc assets fetch smirk"
    assert back["detector dlib"]["status"] == back["face model light"]["status"] == "ok"


def test_needed_packages_are_there(answer):
    packages = checks(answer, "packages")
    assert packages["needed"]["status"] == "ok"
    assert {"insightface", "lora", "identity", "train", "curate", "serve", "evaluate"} <= set(packages)
    assert not {"test", "check"} & set(packages)
