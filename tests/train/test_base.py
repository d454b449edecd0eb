import pytest
import torch
from torch.utils.data import default_collate

from diffpc.diffusion.backbone import build
from diffpc.presets import tiny
from diffpc.train.base import BaseTask
from diffpc.train.loop import Task, Trainer
from diffpc.train.positions import Drawn
from diffpc.train.settings import LoopSettings


def samples(seed):
    """One of two pictures with one of three captions."""
    draw = torch.Generator().manual_seed(1)
    latents = torch.randn(2, 16, 4, 4, generator=draw)
    captions = torch.randint(0, 1000, (3, 32), generator=draw)

    def sample(generator):
        picture, caption, time = torch.rand(3, generator=generator).tolist()
        tokens = captions[int(3 * caption)]
        return {
            "z_0": latents[int(2 * picture)],
            "noise": torch.randn(16, 4, 4, generator=generator),
            "timestep": torch.tensor(int(1000 * time)),
            "tokens": tokens,
            "tokens_2": tokens,
        }

    return Drawn(seed, sample, lambda _: "a picture")


@pytest.fixture
def task():
    torch.manual_seed(0)
    return BaseTask(build(tiny().backbone), samples)


def batch(task, count):
    return default_collate([task.samples(7)[position] for position in range(count)])


def test_unet_and_text_encoders_are_trained_and_the_vae_is_not(task):
    assert isinstance(task, Task)
    assert set(task.modules()) == {"unet", "text_encoder", "text_encoder_2"}
    assert task.frozen() == {}
    task.losses(batch(task, 2))["total"].mean().backward()
    parts = task.backbone
    assert all(parameter.grad is None for parameter in parts.vae.parameters())
    for module in (parts.unet, parts.text_encoder, parts.text_encoder_2):
        assert sum(p.grad.abs().sum() for p in module.parameters() if p.grad is not None) > 0


def test_two_images_are_learnt_in_a_few_steps(task, tmp_path):
    settings = LoopSettings(images=80, batch=4, learning_rate=2e-3, ema_images=0.0, checkpoint_images=1000)
    trainer = Trainer(task, settings, tmp_path)

    def measured():
        with torch.no_grad():
            return task.losses(batch(task, 8))["total"].mean().item()

    before = measured()
    for _ in range(20):
        trainer.step()
    assert measured() < 0.8 * before


def test_the_second_encoder_reads_its_own_tokens(task):
    given = batch(task, 2)
    other = {**given, "tokens_2": given["tokens_2"].flip(1)}
    assert not torch.equal(task.losses(given)["total"], task.losses(other)["total"])
