import torch
from torch.utils.data import default_collate

from diffpc.diffusion.backbone import Backbone, encode_token_ids
from diffpc.train.align import AlignTask, Reader
from diffpc.train.loop import Task, Trainer
from diffpc.train.positions import Drawn
from diffpc.train.settings import LoopSettings
from tests.pipelines import random_pipeline

EMPTY = torch.full((32,), 1023)


def samples(seed, kept=(True, True)):
    """One of four photos, each with features and a caption of its own."""
    draw = torch.Generator().manual_seed(1)
    vectors, patches = torch.randn(4, 1, 128, generator=draw), torch.randn(4, 64, 133, generator=draw)
    captions = torch.randint(1000, (4, 32), generator=draw)

    def sample(generator):
        photo = int(torch.randint(4, (), generator=generator))
        return {
            "vector": vectors[photo],
            "patches": patches[photo],
            "tokens": captions[photo],
            "tokens_2": captions[photo],
            "kept_global": torch.tensor(kept[0]),
            "kept_local": torch.tensor(kept[1]),
        }

    return Drawn(seed, sample, lambda _: "a photo")


def task():
    pipeline = random_pipeline()
    base = Backbone(
        pipeline.vae, pipeline.text_encoder, pipeline.text_encoder_2, pipeline.unet, pipeline.scheduler
    )
    return AlignTask(Reader(pipeline.id_encoder, base, (EMPTY, EMPTY)), samples)


def batch(count=2, **fixed):
    return default_collate([samples(0, **fixed)[position] for position in range(count)])


def test_the_loss_is_the_mean_squared_error_of_the_text_encoders_tokens():
    made, given = task(), batch()
    parts = made.reader.backbone
    found = made.reader.id_encoder(given["vector"], given["patches"])
    said = encode_token_ids(given["tokens"], given["tokens_2"], (parts.text_encoder, parts.text_encoder_2))
    wanted = (found - said.tokens).square().flatten(1).mean(1)
    assert torch.allclose(made.losses(given)["total"], wanted)


def test_nobody_says_the_empty_prompt():
    made = task()
    nobody, somebody = batch(kept=(False, False)), batch(kept=(True, False))
    of_empty = {**nobody, "tokens": EMPTY.expand(2, -1), "tokens_2": EMPTY.expand(2, -1)}
    assert torch.equal(made.losses(nobody)["total"], made.losses(of_empty)["total"])
    silent = {**somebody, "tokens": of_empty["tokens"]}
    assert not torch.equal(made.losses(somebody)["total"], made.losses(silent)["total"])


def test_only_the_id_encoder_learns():
    made = task()
    assert isinstance(made, Task)
    made.losses(batch())["total"].mean().backward()
    assert any(p.grad is not None for p in made.modules()["id_encoder"].parameters())
    assert all(p.grad is None for module in made.frozen().values() for p in module.parameters())


def test_the_tokens_are_learnt(tmp_path):
    made = task()
    settings = LoopSettings(images=160, batch=4, learning_rate=1e-3, ema_images=0.0, checkpoint_images=1000)
    before = made.losses(batch(8))["total"].mean().item()
    Trainer(made, settings, tmp_path).run(lambda report: None)
    assert made.losses(batch(8))["total"].mean().item() < 0.5 * before
