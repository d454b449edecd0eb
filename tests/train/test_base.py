import pytest
import torch

from diffpc.diffusion.backbone import build
from diffpc.presets import tiny
from diffpc.train.base import BaseData, BaseTask, drawn_captions
from diffpc.train.loop import LoopSettings, Task, Trainer


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


def test_unet_and_text_encoders_are_trained_and_the_vae_is_not(task):
    assert isinstance(task, Task)
    assert set(task.modules()) == {"unet", "text_encoder", "text_encoder_2"}
    task.losses(2, torch.Generator().manual_seed(0))["total"].backward()
    parts = task.backbone
    assert all(parameter.grad is None for parameter in parts.vae.parameters())
    for module in (parts.unet, parts.text_encoder, parts.text_encoder_2):
        assert sum(p.grad.abs().sum() for p in module.parameters() if p.grad is not None) > 0


def test_the_same_generator_gives_the_same_loss(task):
    def drawn(seed):
        return task.losses(2, torch.Generator().manual_seed(seed))["total"].item()

    assert drawn(3) == drawn(3) != drawn(4)


def test_two_images_are_learnt_in_a_few_steps(task, tmp_path):
    settings = LoopSettings(images=80, batch=4, learning_rate=2e-3, ema_images=0.0, checkpoint_images=1000)
    trainer = Trainer(task, settings, tmp_path)

    def measured():
        with torch.no_grad():
            return task.losses(8, torch.Generator().manual_seed(7))["total"].item()

    before = measured()
    for _ in range(20):
        trainer.step()
    assert measured() < 0.8 * before


def test_captions_are_drawn_and_dropped():
    captions = torch.arange(24, dtype=torch.int32).view(2, 3, 4).repeat(500, 1, 1)
    empty = torch.full((4,), 99, dtype=torch.int32)
    generator = torch.Generator().manual_seed(0)
    drawn = drawn_captions(captions, empty, 0.3, generator)
    dropped = (drawn == 99).all(dim=1)
    assert 0.25 < dropped.float().mean() < 0.35
    rows = {tuple(row) for row in drawn[~dropped].tolist()}
    assert rows == {tuple(row) for row in captions[:2].flatten(0, 1).tolist()}
    assert not (drawn_captions(captions, empty, 0.0, generator) == 99).any()
    assert (drawn_captions(captions, empty, 1.0, generator) == 99).all()


def test_a_caption_stays_with_its_image():
    captions = torch.arange(8).view(4, 1, 2)
    drawn = drawn_captions(captions, torch.zeros(2, dtype=torch.int64), 0.0, torch.Generator())
    assert torch.equal(drawn, captions[:, 0])
