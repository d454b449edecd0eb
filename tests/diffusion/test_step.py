"""The step of the denoising loop as the device sees it: nothing is asked of it, and it is one graph."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from diffpc.diffusion import sample
from diffpc.diffusion.backbone import build_scheduler
from diffpc.diffusion.sample import denoise
from diffpc.presets import tiny
from tests.diffusion.compiled import SETTINGS, networks, noise
from tests.diffusion.conftest import conditions


class Traffic(TorchDispatchMode):
    """What goes between the CPU and the device, while it is told to look."""

    def __init__(self, device):
        super().__init__()
        self.device, self.looks, self.seen, self.calls = device, False, [], 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        result = function(*arguments, **(keywords or {}))
        if self.looks:
            self.calls += 1
            if self._waits(function, arguments, result):
                self.seen.append(str(function))
        return result

    def _waits(self, function, arguments, result):
        if any(name in str(function) for name in ("_local_scalar_dense", "nonzero", "is_nonzero", "equal.")):
            return True
        moved = "copy" in str(function) or "lift_fresh" in str(function)
        places = {one.device.type for one in (*arguments, result) if isinstance(one, torch.Tensor)}
        return moved and len(places) > 1


def traffic(net, device, settings):
    """Within the steps, from the first one's end to the last one's."""
    found = Traffic(device)

    def look(done, _estimate):
        found.looks = done < settings.steps

    parts = [conditions(), conditions(seed=9)]
    if device != "cpu":
        for part in (net.unet, net.adapter.control, net.adapter.injectors, net.adapter.attention):
            if part is not None:
                part.to(device)
        parts = [moved(part, device) for part in parts]
    with found:
        denoise(net, *parts, noise().to(device), settings, look)
    return found


def moved(told, device):
    text = replace(told.text, tokens=told.text.tokens.to(device), pooled=told.text.pooled.to(device))
    return replace(told, text=text, identity=told.identity.to(device), z_3d=told.z_3d.to(device))


@pytest.mark.parametrize(
    ("form", "device"),
    [("residual", "cpu"), ("paper", "meta"), ("gated", "meta"), ("residual", "meta"), ("additive", "meta")],
)
def test_no_step_waits_for_the_device(form, device):
    """A meta tensor has no value that could be asked for, and all that comes to it comes from elsewhere."""
    found = traffic(networks(form), device, replace(SETTINGS, guidance=3.0))
    assert found.calls > 500 and found.seen == []


def test_traffic_is_seen():
    """The diffusers scheduler's step, which asks for the timestep's value."""
    scheduler = build_scheduler(tiny().backbone)
    scheduler.set_timesteps(2)
    with Traffic("cpu") as found:
        found.looks = True
        scheduler.step(noise(), scheduler.timesteps[0], noise(), eta=0.0)
    assert any("_local_scalar_dense" in name for name in found.seen)
    with Traffic("meta") as found:
        found.looks = True
        torch.zeros(3).to("meta")
    assert len(found.seen) == 1


def test_a_compiled_step_is_one_graph_for_all_steps_portraits_and_strengths():
    """In a process of its own: the checks of shapes that tests have everywhere else cannot be compiled."""
    root = Path(__file__).parents[2]
    words = [sys.executable, "-m", "tests.diffusion.compiled"]
    answer = subprocess.run(words, cwd=root, capture_output=True, text=True, check=True)
    found = json.loads(answer.stdout)
    assert found["graphs"] == 1  # without breaks, or it is refused
    assert max(found["differences"]) < 1e-5 and len(found["differences"]) == 2
    assert found["hooks"] == 0


def test_compiled_steps_are_kept_for_all_portraits():
    assert sample._compiled() is sample._compiled()
