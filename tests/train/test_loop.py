import json
import os
import re
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from torch.utils.data import default_collate

from diffpc.errors import DiffPCError, InputError, UsageError
from diffpc.train.checkpoint import load_latest
from diffpc.train.engine import Engine
from diffpc.train.loop import JsonLines, Report, Task, Trainer
from diffpc.train.settings import EngineSettings, LoopSettings
from tests.train.distributed import WAYS
from tests.train.toy import SETTINGS, ToyTask


def trained(folder, settings=SETTINGS, stop_at=None):
    """Trainer and its reports after resuming and running."""
    reports = []
    trainer = Trainer(ToyTask(), settings, folder)
    trainer.resume()
    trainer.run(reports.append, stop_at)
    return trainer, reports


def losses(reports):
    return [report.terms["total"] for report in reports]


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_resumed_run_is_an_uninterrupted_one_exactly(tmp_path):
    whole, reports = trained(tmp_path / "whole")
    _, first = trained(tmp_path / "parts", stop_at=72)
    resumed, second = trained(tmp_path / "parts")
    assert losses(first) + losses(second) == losses(reports)
    assert same(resumed.parameters, whole.parameters)
    assert same(resumed.average, whole.average)
    assert [report.images for report in first + second] == list(range(4, 161, 4))


def test_buffers_are_kept_with_the_weights(tmp_path):
    def with_buffer(value):
        task = ToyTask()
        task.network.register_buffer("scale", torch.tensor(value))
        return task

    Trainer(with_buffer(3.0), SETTINGS, tmp_path).run(lambda _: None, stop_at=8)
    resumed = with_buffer(1.0)
    Trainer(resumed, SETTINGS, tmp_path).resume()
    assert resumed.network.scale == 3


def test_a_killed_run_goes_on_where_it_was(tmp_path):
    whole, _ = trained(tmp_path / "whole")
    folder = tmp_path / "killed"
    process = subprocess.Popen([sys.executable, "-m", "tests.train.toy", str(folder)])
    deadline = time.monotonic() + 120
    while not list(folder.glob("checkpoint-*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -9
    _, reports = trained(folder)
    assert SETTINGS.batch < reports[0].images <= SETTINGS.images  # it did not begin anew, nor had it ended
    tensors, state, _ = load_latest(folder)
    assert state["images"] == SETTINGS.images
    for name, parameter in whole.parameters.items():
        assert torch.equal(tensors[f"weight/{name}"], parameter)
        assert torch.equal(tensors[f"average/{name}"], whole.average[name])


def test_the_toy_is_a_task_and_learns(tmp_path):
    assert isinstance(ToyTask(), Task)
    settings = replace(SETTINGS, images=1600, checkpoint_images=1600)
    _, reports = trained(tmp_path, settings)
    assert sum(losses(reports)[-20:]) < 0.3 * sum(losses(reports)[:20])


def test_only_what_may_be_trained_is(tmp_path):
    trainer = Trainer(ToyTask(), SETTINGS, tmp_path)
    assert set(trainer.parameters) == {
        "network.0.weight",
        "network.0.bias",
        "network.2.weight",
        "network.2.bias",
    }
    fixed = trainer.task.fixed.weight.clone()
    trainer.run(lambda _: None)
    assert torch.equal(trainer.task.fixed.weight, fixed)
    assert not trainer.task.fixed.weight.requires_grad


def test_every_optimiser_value_is_the_settings(tmp_path):
    trainer = Trainer(ToyTask(), SETTINGS, tmp_path)
    trainer.step()
    (group,) = trainer.optimiser.param_groups
    assert group["betas"] == (0.8, 0.95)
    assert group["weight_decay"] == 0.05
    assert group["lr"] == pytest.approx(1e-2 * 4 / 20)
    assert (group["eps"], group["amsgrad"], group["maximize"]) == (1e-8, False, False)
    assert len(group["params"]) == len(trainer.parameters)
    assert isinstance(trainer.optimiser, torch.optim.AdamW)


def test_the_first_step_is_adamw_by_hand(tmp_path):
    settings = LoopSettings(images=4, batch=4, learning_rate=0.1, weight_decay=0.5, clip_norm=1e9)
    trainer = Trainer(ToyTask(), settings, tmp_path)
    before = {name: value.detach().clone() for name, value in trainer.parameters.items()}
    twin = ToyTask()
    batch = default_collate([twin.samples(0)[position] for position in range(4)])
    twin.losses(batch)["total"].mean().backward()
    trainer.step()
    for name, gradient in ((f"network.{key}", value.grad) for key, value in twin.network.named_parameters()):
        # bias-corrected moments of one step: g / (|g| + eps), after the decoupled decay
        wanted = before[name] * (1 - 0.1 * 0.5) - 0.1 * gradient / (gradient.abs() + 1e-8)
        assert torch.allclose(trainer.parameters[name], wanted, atol=1e-5)


def test_the_gradient_is_clipped_as_a_whole(tmp_path):
    norms = []
    trainer = Trainer(ToyTask(), replace(SETTINGS, clip_norm=1e-3), tmp_path)
    step = trainer.optimiser.step

    def spy():
        norms.append(torch.stack([value.grad.norm() for value in trainer.parameters.values()]).norm().item())
        step()

    trainer.optimiser.step = spy
    terms = trainer.step()
    assert norms[0] == pytest.approx(1e-3, rel=1e-2)
    assert terms["gradient"] > 1e-3
    assert terms["half"] == pytest.approx(terms["total"] / 2)


def test_rates_of_both_schedules(tmp_path):
    trainer = Trainer(ToyTask(), replace(SETTINGS, warmup_images=0), tmp_path)
    rates = []
    for trainer.images in (0, 80, 160):
        rates.append(trainer.rate())
    assert rates == pytest.approx([1e-2, 5e-3, 0.0])
    constant = Trainer(ToyTask(), replace(SETTINGS, schedule="constant"), tmp_path)
    rates = []
    for constant.images in (0, 8, 16, 100):
        rates.append(constant.rate())
    assert rates == pytest.approx([1e-2 * 4 / 20, 1e-2 * 12 / 20, 1e-2, 1e-2])


def test_the_average_has_the_half_life(tmp_path):
    trainer = Trainer(ToyTask(), replace(SETTINGS, ema_images=8.0), tmp_path)
    name, weight = next(iter(trainer.parameters.items()))
    trainer.images = 100_000
    with torch.no_grad():
        trainer.average[name].zero_()
        weight.fill_(1.0)
    values = []
    for _ in range(2):  # two steps of 4 images are one half-life
        trainer._update_average()
        values.append(trainer.average[name].flatten()[0].item())
    assert values == pytest.approx([1 - 0.5**0.5, 0.5])


def test_without_an_average_the_weights_stand_in(tmp_path):
    trainer, _ = trained(tmp_path, replace(SETTINGS, ema_images=0.0))
    assert same(trainer.averaged(), trainer.parameters)
    kept, _ = trained(tmp_path / "kept")
    assert not same(kept.averaged(), kept.parameters)


def test_a_gradient_that_is_not_finite_stops_the_run_and_spoils_nothing(tmp_path):
    trainer, _ = trained(tmp_path, stop_at=32)
    weights = {name: value.detach().clone() for name, value in trainer.parameters.items()}
    trainer.samples = poisoned = trainer.task.samples(0)
    trainer.batches = None
    healthy = poisoned.draw
    culprit = poisoned.key(33)

    def draw(generator):
        sample = healthy(generator)
        name = poisoned.name(sample)
        return {**sample, "wanted": sample["wanted"] * (float("nan") if name == culprit else 1)}

    poisoned.draw = draw
    with pytest.raises(DiffPCError, match=f"gradient at 32 images is nan, because of {re.escape(culprit)};"):
        trainer.step()
    assert same(trainer.parameters, weights)
    tensors, state, _ = load_latest(tmp_path)
    assert state["images"] == 32
    assert all(torch.equal(tensors[f"weight/{name}"], value) for name, value in weights.items())


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    trained(tmp_path, stop_at=16)
    task = ToyTask()
    task.network.append(torch.nn.Linear(2, 2))
    with pytest.raises(InputError, match=r"missing: network\.3"):
        Trainer(task, SETTINGS, tmp_path).resume()


def test_a_damaged_checkpoint_is_passed_over_with_a_message(tmp_path):
    whole, _ = trained(tmp_path / "whole")
    trained(tmp_path / "run", stop_at=48)
    newest = max((tmp_path / "run").glob("checkpoint-*")) / "tensors.safetensors"
    newest.write_bytes(newest.read_bytes()[:-10])
    trainer = Trainer(ToyTask(), SETTINGS, tmp_path / "run")
    assert trainer.resume() == ["checkpoint-0000000048 is damaged and was passed over"]
    assert trainer.images == 32
    trainer.run(lambda _: None)
    assert same(trainer.parameters, whole.parameters)


def test_stopping_at_once_does_nothing(tmp_path):
    _, reports = trained(tmp_path, stop_at=0)
    assert reports == []
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("engine", [EngineSettings(accumulation=2), EngineSettings(workers=2)])
def test_the_way_of_working_does_not_change_the_curve(tmp_path, engine):
    _, plain = trained(tmp_path / "plain", stop_at=40)
    reports = []
    Trainer(ToyTask(), SETTINGS, tmp_path / "other", Engine(engine)).run(reports.append, 40)
    assert losses(reports) == pytest.approx(losses(plain), rel=1e-5)


@pytest.fixture(scope="module")
def by_two(tmp_path_factory):
    """What two processes left after half of the images, a folder for each way of sharing the work."""
    folder = tmp_path_factory.mktemp("by-two")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    program = ["-m", "tests.train.distributed", str(folder), "80"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    subprocess.run([*command, *program], check=True, capture_output=True, env=environment)
    return folder


@pytest.mark.parametrize("parallel", WAYS)
def test_two_processes_learn_what_one_does(by_two, tmp_path, parallel):
    """Of every batch each process sees one half; a checkpoint of one is the other's."""
    whole, reports = trained(tmp_path / "one")
    first = json.loads((by_two / parallel / "losses.json").read_text())
    resumed, second = trained(by_two / parallel)
    assert first + losses(second) == pytest.approx(losses(reports), rel=1e-4)
    for name, value in whole.parameters.items():
        assert torch.allclose(resumed.parameters[name], value, atol=1e-5)
        assert torch.allclose(resumed.average[name], whole.average[name], atol=1e-5)


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path):
    with pytest.raises(UsageError, match="batch of 4 cannot be shared by 1 processes with 3 micro-batches"):
        Trainer(ToyTask(), SETTINGS, tmp_path, Engine(EngineSettings(accumulation=3)))


def test_a_changed_setting_is_named_and_refused(tmp_path):
    trained(tmp_path, stop_at=16)
    changed = replace(SETTINGS, learning_rate=0.5, keep=1)
    with pytest.raises(UsageError, match=r"loop\.learning_rate was 0\.01, is 0\.5; go on"):
        Trainer(ToyTask(), changed, tmp_path).resume()


def test_the_log_averages_and_begins_anew_after_a_resume(tmp_path):
    log = JsonLines(tmp_path / "log.jsonl", every=100)
    for images in (40, 80, 120):
        log(Report(images, {"total": images / 10}, 0.5))
    resumed = JsonLines(tmp_path / "log.jsonl", every=100)
    for images in (160, 200):
        resumed(Report(images, {"total": 1.0}, 0.25))
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert rows == [
        {"images": 120, "seconds_per_step": 0.5, "total": 8.0},
        {"images": 200, "seconds_per_step": 0.25, "total": 1.0},
    ]
