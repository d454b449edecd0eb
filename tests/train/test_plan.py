from dataclasses import replace

import pytest

from diffpc.cli import main
from diffpc.train.plan import plan
from diffpc.train.recipe import RECIPES, sdxl, tiny
from diffpc.train.settings import EngineSettings
from tests.pipelines import random_pipeline


def counts(*modules):
    return [sum(parameter.numel() for parameter in module.parameters()) for module in modules]


def test_the_papers_adapter_has_its_sizes():
    found = plan(sdxl())
    assert found.trained == {"id_encoder": 272334848, "id_ctrl": 1243378880, "id_injectors": 232515840}
    assert found.frozen["unet"] == 2567463684
    assert found.state_bytes == 5 * 4 * sum(found.trained.values())  # weight, gradient, two moments, average
    assert found.frozen_bytes == 2 * sum(found.frozen.values())


def test_counts_are_those_of_the_networks():
    pipeline = random_pipeline()
    found = plan(tiny())
    names = ("id_encoder", "id_ctrl", "id_injectors")
    assert list(found.trained.values()) == counts(*(getattr(pipeline, name) for name in names))
    assert found.frozen["vae"] == counts(pipeline.vae)[0]


@pytest.mark.parametrize("name", sorted(set(RECIPES) - {"sdxl"}))
def test_every_recipe_has_a_plan(name):
    found = plan(RECIPES[name]())
    assert found.activation_bytes > 0 and not set(found.trained) & set(found.frozen)
    assert any("memory per process, estimated" in line for line in found.lines())


def test_activations_follow_the_batch_and_can_be_computed_twice_instead():
    small = tiny()
    whole = plan(small).activation_bytes
    half = plan(replace(small, engine=EngineSettings(accumulation=2))).activation_bytes
    assert half == pytest.approx(whole / 2, rel=0.01)
    assert plan(small, world=2).activation_bytes == half
    saved = plan(replace(small, engine=EngineSettings(checkpointing=True))).activation_bytes
    assert saved < 0.6 * whole


def test_a_joint_training_keeps_more(capsys):
    alone, joint = plan(tiny()), plan(RECIPES["tiny_joint"]())
    assert joint.activation_bytes > alone.activation_bytes
    assert "unet" in joint.trained and "unet" in alone.frozen


def test_the_dry_run_prints_settings_counts_and_memory(capsys):
    assert main(["train", "tiny", "--dry-run", "--loop.batch", "8"]) == 0
    printed = capsys.readouterr().out
    assert '"batch": 8' in printed and "trained id_ctrl: 4.94 M parameters" in printed
    assert "memory per process, estimated" in printed
