import pytest
import torch
from torch.utils.data import default_collate

from diffpc.diffusion.backbone import build
from diffpc.presets import tiny
from diffpc.train.base import BaseData, BaseTask, drawn_caption
from diffpc.train.loop import Task, Trainer
from diffpc.train.positions import Samples
from diffpc.train.settings import LoopSettings


@pytest.fixture
def task():
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    data = BaseData(
        latents=torch.randn(2, 16, 4, 4, generator=generator),
        captions=torch.randint(0, 1000, (2, 3, 32), generator=generator),
        empty=torch.full((32,), 1023),
    )
    return BaseTask(build(tiny().backbone), data)


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


def test_a_position_always_has_the_same_sample(task):
    samples = task.samples(0)
    assert isinstance(samples, Samples)
    assert all(torch.equal(samples[3][name], value) for name, value in task.samples(0)[3].items())
    assert not torch.equal(samples[3]["noise"], samples[4]["noise"])
    assert samples.key(3) == f"image {int(samples[3]['index'])}"


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


def test_captions_are_drawn_and_dropped():
    captions = torch.arange(12, dtype=torch.int32).view(3, 4)
    empty = torch.full((4,), 99, dtype=torch.int32)

    def drawn(drop, count=500):
        generator = torch.Generator().manual_seed(0)
        return torch.stack([drawn_caption(captions, empty, drop, generator) for _ in range(count)])

    found = drawn(0.3)
    dropped = (found == 99).all(dim=1)
    assert 0.25 < dropped.float().mean() < 0.35
    assert {tuple(row) for row in found[~dropped].tolist()} == {tuple(row) for row in captions.tolist()}
    assert not (drawn(0.0) == 99).any()
    assert (drawn(1.0) == 99).all()
