"""A short run of the real contenders at the bundled size."""

import json

import pytest
import torch

from diffpc.bench.drawers import CONTENDERS, PROMPT, build_parts
from diffpc.bench.generate import Turns, prepared, run, summary
from diffpc.bench.settings import DRAWERS, GenerateBench
from diffpc.images import read_image

CPU = torch.device("cpu")
EAGER = ("ours", "ours_known", "controlnet", "ip_adapter")


def bench(tmp_path, path, **changed):
    given = {"rounds": 1, "warmup": 1, "steps": 1, "device": "cpu", "contenders": EAGER}
    return GenerateBench(output=tmp_path / "found.json", reference=path, **(given | changed))


def test_a_run_measures_every_contender(tmp_path, astronaut_path):
    content = run(bench(tmp_path, astronaut_path))
    written = json.loads((tmp_path / "found.json").read_text())
    assert written["settings"]["reference"] == "astronaut.jpg"  # no folders of the machine
    assert written["drawn"]["steps"] == 1 and written["drawn"]["dtype"] == "float32"
    assert set(content["contenders"]) == set(EAGER)
    rate = content["matrix_flop_per_second"]["median"]
    for one in content["contenders"].values():
        assert one["seconds"]["n"] == 1 and one["flop"] > 1e8
        assert one["share_of_matrix_rate"] == one["flop"] / one["seconds"]["median"] / rate
    known = content["contenders"]["ours_known"]["stages"]
    assert list(known) == ["render", "encode", "denoise", "decode"]
    assert sum(stage["share"] for stage in known.values()) == pytest.approx(1, abs=0.1)
    assert "identify" in content["contenders"]["ours"]["stages"]
    assert set(content["ratios"]) == {"ours_known / controlnet", "ours / ip_adapter"}


def test_the_peers_draw_with_the_networks_that_ours_have(tmp_path, astronaut_path):
    parts = build_parts(bench(tmp_path, astronaut_path), read_image(astronaut_path), CPU, torch.float32)
    seen = []
    handle = parts.backbone.unet.conv_in.register_forward_hook(
        lambda _m, args, _o: seen.append(args[0].shape)
    )
    for name in ("ours_known", "controlnet"):
        CONTENDERS[name](parts)(seed=3)
    handle.remove()
    assert seen == [(1, 16, 16, 16)] * 2  # one step, one branch, one size
    assert not any((one == 0).all() for one in parts.pipeline.id_injectors.parameters() if one.ndim > 1)
    assert PROMPT and set(CONTENDERS) == set(DRAWERS)


def test_without_a_compiler_a_contender_is_missing(tmp_path, astronaut_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    settings, found = bench(tmp_path, astronaut_path), Turns()
    parts = build_parts(settings, read_image(astronaut_path), CPU, torch.float32)
    assert prepared("ours_compiled", parts, settings, found) is None
    assert found.missing == "not available: needs a C++ compiler (no-such-compiler)"


def test_ratios_are_of_rounds_and_a_compiled_contender_has_its_twins_flop():
    turns = {
        "ours_known": Turns(seconds=[2.0, 4.0], busy=[2.0, 2.0], flop=100),
        "ours_compiled": Turns(seconds=[1.0, 2.0], busy=[1.0, 1.5]),
        "controlnet": Turns(missing="out of memory"),
    }
    found = summary(turns, [50.0, 50.0], seed=0)
    assert found["ratios"]["ours_compiled / ours_known"]["values"] == (0.5, 0.5)
    assert found["cpu_time_ratios"]["ours_compiled / ours_known"]["median"] == 0.625
    assert found["contenders"]["ours_compiled"]["share_of_matrix_rate"] == pytest.approx(100 / 1.5 / 50)
    assert found["contenders"]["controlnet"] == {"missing": "out of memory"}
