import json
import math

import pytest
import torch

from diffpc.bench.parts import awaken, build_parts
from diffpc.bench.plain_controlnet import ControlNetTraining, NaiveTraining
from diffpc.bench.samples import Cached, Pictures
from diffpc.bench.settings import TrainBench
from diffpc.bench.train import Turns, attempt, peaks, recipe_of, run, summary
from diffpc.bench.trainers import CONTENDERS

CPU = torch.device("cpu")


def settings(tmp_path, **changed):
    given = {"batch": (1,), "rounds": 1, "steps": 1, "warmup": 0, "device": "cpu", "memory": False}
    return TrainBench(output=tmp_path / "found.json", **(given | changed))


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return recipe_of(settings(tmp_path_factory.mktemp("unwritten")), 2, CPU)


@pytest.fixture(scope="module")
def parts(recipe):
    return build_parts(recipe, CPU)


def copied(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def changed(module, before):
    return [name for name, value in module.state_dict().items() if not torch.equal(before[name], value)]


def test_a_run_measures_every_contender(tmp_path):
    content = run(settings(tmp_path))
    assert json.loads((tmp_path / "found.json").read_text())["settings"]["output"] == "found.json"
    found = content["configurations"]["batch 1"]
    assert set(found["contenders"]) == set(CONTENDERS)
    for one in found["contenders"].values():
        assert math.isfinite(one["loss"])
        assert one["samples_per_second"]["n"] == 1
        share = one["samples_per_second"]["median"] * one["flop_per_sample"]
        assert one["share_of_matrix_rate"] == share / found["matrix_flop_per_second"]["median"]
    pairs = {"ours / naive", "ours / controlnet", "ours_without_id_loss / controlnet"}
    assert set(found["ratios"]) == set(found["cpu_time_ratios"]) == pairs
    flop = {name: one["flop_per_sample"] for name, one in found["contenders"].items()}
    assert flop["ours_without_id_loss"] < flop["ours"] < flop["naive"]


@pytest.mark.parametrize("kind", [ControlNetTraining, NaiveTraining])
def test_a_baseline_trains_its_networks_and_nothing_else(kind, parts, recipe):
    made = kind(parts, recipe)
    frozen = [*parts.backbone.networks().values(), parts.backbone.vae, parts.embedder, parts.local]
    before = [copied(module) for module in frozen]
    trained = {name: copied(module) for name, module in made.networks.items()}
    assert math.isfinite(made.step())
    for name, module in made.networks.items():
        assert {key.split(".")[0] for key in changed(module, trained[name])} >= {
            "controlnet": {"conv_in", "controlnet_cond_embedding", "down_blocks", "controlnet_mid_block"},
            "id_encoder": {"queries", "project_global", "decoder"},
        }[name]
    assert not any(changed(module, one) for module, one in zip(frozen, before, strict=True))


def test_the_naive_identity_loss_reaches_controlnet(parts, recipe):
    made = NaiveTraining(parts, recipe)
    batch = next(made.batches)
    batch["vector"] = parts.embedder.embed_chips(batch["chip"])
    made.identity(made.diffusion(batch)[1], batch).backward()
    assert made.networks["controlnet"].conv_in.weight.grad.abs().sum() > 0


def test_samples_are_those_of_the_training(parts, recipe):
    sample = Cached(recipe, parts, seed=3)[5]
    assert sample["z_0"].shape == sample["noise"].shape == (16, 16, 16)
    assert sample["patches"].shape == (64, 133)
    again = Cached(recipe, parts, seed=3)[5]
    assert all(torch.equal(value, again[name]) for name, value in sample.items())
    picture = Pictures(recipe, parts, seed=3)[5]["picture"]
    assert picture.shape == (3, 128, 128) and picture.min() >= -1 and picture.max() <= 1


def test_any_few_samples_have_their_share_of_small_timesteps(parts, recipe):
    """Two fifths of the timesteps have an ID loss; a step that had none would be timed too fast."""
    samples = Cached(recipe, parts, seed=0)
    for start in (0, 37):
        steps = [int(samples[position]["timestep"]) for position in range(start, start + 10)]
        assert 3 <= sum(step <= 400 for step in steps) <= 5


def test_zero_weights_wake_up_and_others_stay():
    layers = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    torch.nn.init.zeros_(layers[1].weight)
    kept = layers[0].weight.clone()
    awaken(layers)
    assert layers[1].weight.abs().min() > 0 and torch.equal(layers[0].weight, kept)


def test_running_out_of_memory_is_a_result():
    def fail():
        raise torch.OutOfMemoryError

    full, rest = Turns(rates=[4.0]), Turns(rates=[2.0, 2.0], loss=0.5, flop=10.0)
    attempt(fail, full)
    attempt(lambda: full.rates.append(1.0), full)  # not tried again
    assert full.rates == [4.0]
    found = summary({"ours": full, "naive": rest}, [100.0])
    assert found["contenders"]["ours"]["error"] == "out of memory"
    assert found["contenders"]["naive"]["share_of_matrix_rate"] == 0.2
    assert found["ratios"]["ours / naive"]["values"] == (2.0,)  # of the rounds that both had
    assert found["cpu_time_ratios"] == {}


def test_peak_memory_is_that_of_a_process_of_its_own(tmp_path):
    found = peaks(settings(tmp_path, contenders=("controlnet",)), 1)
    assert list(found) == ["controlnet"]
    assert found["controlnet"] > 4 * 4 * 4_000_000  # its weights, gradients and two moments are in it
