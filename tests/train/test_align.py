import torch
from torch.utils.data import default_collate

from diffpc.identity.encoder import IDEncoder
from diffpc.train.align import AlignData, AlignTask
from diffpc.train.loop import Task, Trainer
from diffpc.train.settings import LoopSettings


def task(drop=0.0):
    torch.manual_seed(0)
    draw = torch.Generator().manual_seed(1)
    data = AlignData(
        vectors=torch.randn(4, 1, 6, generator=draw),
        patches=torch.randn(4, 7, 5, generator=draw),
        caption=torch.tensor([1, 2, 1, 2]),
        tokens=torch.randn(3, 8, 16, generator=draw),
    )
    return AlignTask(IDEncoder(6, 5, 16, tokens=8, layers=1, heads=4), data, drop)


def batch(made, count):
    return default_collate([made.samples(0)[position] for position in range(count)])


def test_a_photo_comes_with_its_captions_tokens():
    made = task()
    assert isinstance(made, Task)
    sample = made.samples(0)[0]
    photo = int(sample["photo"])
    assert torch.equal(sample["vector"], made.data.vectors[photo])
    assert torch.equal(sample["tokens"], made.data.tokens[made.data.caption[photo]])
    assert made.samples(0).key(0) == f"photo {photo}"


def test_nobody_says_the_empty_prompt():
    sample = task(drop=1.0).samples(0)[0]
    assert sample["vector"].abs().sum() == 0 and sample["patches"].abs().sum() == 0
    assert torch.equal(sample["tokens"], task().data.tokens[0])


def test_the_loss_is_the_mean_squared_error_of_the_tokens():
    made = task()
    given = batch(made, 3)
    found = made.id_encoder(given["vector"], given["patches"])
    wanted = ((found - given["tokens"]) ** 2).flatten(1).mean(1)
    assert torch.allclose(made.losses(given)["total"], wanted)


def test_the_tokens_are_learnt(tmp_path):
    made = task()
    settings = LoopSettings(images=800, batch=8, learning_rate=3e-3, ema_images=0.0, checkpoint_images=1000)
    before = made.losses(batch(made, 8))["total"].mean().item()
    Trainer(made, settings, tmp_path).run(lambda report: None)
    assert made.losses(batch(made, 8))["total"].mean().item() < 0.3 * before
