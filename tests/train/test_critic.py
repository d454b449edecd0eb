import math
from itertools import islice

import pytest
import torch
from torch.utils.data import default_collate

from diffpc.diffusion.backbone import build_scheduler
from diffpc.errors import InputError
from diffpc.presets import tiny
from diffpc.train.critic import NOISIEST, RAREST, Critic, CriticSettings, CriticTask, load_critic, phrase_loss
from diffpc.train.loop import Trainer
from diffpc.train.settings import LoopSettings
from tests.train.toy import ToyTask

SIZES = CriticSettings(channels=4, side=8, phrases=2, values=1, width=16)


def scheduler():
    return build_scheduler(tiny().backbone)


def task():
    """Bright pictures are "yes", and how bright they are is the value; the second phrase is never true."""
    torch.manual_seed(0)
    bright = torch.linspace(-2, 2, 40)
    latents = 0.1 * torch.randn(40, 4, 8, 8) + bright[:, None, None, None]
    phrases = torch.stack([(bright > 0).float(), torch.zeros(40)], dim=1)
    critic = Critic(SIZES)
    critic.fit(phrases, bright[:, None])
    return CriticTask(critic, latents, (phrases, bright[:, None]), scheduler())


def trained(folder, stop_at=None):
    settings = LoopSettings(images=480, batch=16, learning_rate=3e-3, ema_images=32.0, checkpoint_images=160)
    trainer = Trainer(task(), settings, folder)
    trainer.resume()
    trainer.run(lambda _: None, stop_at)
    return trainer


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("critic")
    return folder, trained(folder)


def test_the_loss_of_a_phrase_weighs_yes_and_no_alike():
    logits, wanted = torch.tensor([[0.0, 2.0]]), torch.tensor([[1.0, 0.0]])
    plain = [math.log(2), 2 + math.log(1 + math.exp(-2))]
    assert phrase_loss(logits, wanted)[0].tolist() == pytest.approx(plain)
    share = torch.tensor([0.25, 0.25])
    assert phrase_loss(logits, wanted, share)[0].tolist() == pytest.approx([2 * plain[0], plain[1] / 1.5])


def test_rare_phrases_do_not_outweigh_the_others():
    critic = task().critic
    assert critic.share.tolist() == pytest.approx([0.5, RAREST])
    values = torch.tensor([[-2.0], [0.0], [2.0]])
    assert critic.standardised(values)[:, 0].tolist() == pytest.approx([-1.69, 0, 1.69], abs=0.03)


def test_a_reading_has_levels_and_depends_on_the_noise_level():
    critic = task().critic
    z_t = torch.randn(3, 4, 8, 8)
    read = critic(z_t, torch.tensor([0, 300, 600]))
    assert read.phrases.shape == (3, 2) and read.values.shape == (3, 1)
    assert [tuple(one.shape[1:]) for one in read.features] == [(16, 8, 8), (32, 4, 4), (48, 2, 2)]
    assert not torch.equal(read.phrases[1:], critic(z_t, torch.tensor([0, 301, 601])).phrases[1:])


def test_samples_are_noised_as_far_as_something_can_be_seen():
    samples = task().samples(0)
    steps = [int(samples[position]["timestep"]) for position in range(200)]
    assert 0 <= min(steps) < 40 and NOISIEST - 40 < max(steps) < NOISIEST


def test_it_learns_what_pictures_show(run):
    folder, _ = run
    critic, made = load_critic(folder, print), task()
    found = critic(made.latents, torch.zeros(40, dtype=torch.int64))
    assert ((found.phrases[:, 0] > 0) == (made.phrases[:, 0] > 0)).float().mean() > 0.9
    assert found.phrases[:, 1].max() < 0
    assert torch.corrcoef(torch.stack([found.values[:, 0], made.values[:, 0]]))[0, 1] > 0.95


def test_a_loaded_critic_is_the_average_of_the_run(run):
    folder, trainer = run
    state, kept = load_critic(folder, print).state_dict(), trainer.averaged()
    assert state.keys() == {name.removeprefix("critic.") for name in kept}
    assert all(torch.equal(value, kept[f"critic.{name}"]) for name, value in state.items())
    assert state["mean"].shape == (1,)


def test_a_resumed_run_ends_with_the_same_weights(run, tmp_path):
    trained(tmp_path, stop_at=200)
    again, whole = trained(tmp_path).averaged(), run[1].averaged()
    assert all(torch.equal(again[name], value) for name, value in whole.items())


def test_what_is_no_critic_is_refused(tmp_path):
    with pytest.raises(InputError, match="tiny_critic"):
        load_critic(tmp_path / "nothing", print)
    settings = LoopSettings(images=8, batch=4, checkpoint_images=8)
    Trainer(ToyTask(), settings, tmp_path).run(lambda _: None)
    with pytest.raises(InputError, match="no critic"):
        load_critic(tmp_path, print)


def test_gradients_reach_the_latents():
    made = task()
    batch = default_collate(list(islice((made.samples(0)[position] for position in range(4)), 4)))
    z_0 = batch["z_0"].clone().requires_grad_()
    made.losses({**batch, "z_0": z_0})["total"].sum().backward()
    assert z_0.grad is not None and (z_0.grad.flatten(1).norm(dim=1) > 0).all()
