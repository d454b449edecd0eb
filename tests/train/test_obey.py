import math

import pytest
import torch
from torch.utils.data import default_collate

from diffpc.diffusion.adapter import Adapter
from diffpc.diffusion.backbone import Backbone, encode_token_ids
from diffpc.diffusion.sample import Conditions, SampleSettings, denoise
from diffpc.diffusion.sample import Networks as Drawing
from diffpc.faces.embed import load_embedder
from diffpc.train.adapter import Networks
from diffpc.train.critic import Critic, CriticSettings
from diffpc.train.features import latents_of
from diffpc.train.loop import Task, Trainer
from diffpc.train.obey import ObeyTask
from diffpc.train.objective import Judge
from diffpc.train.phrases import Phrases
from diffpc.train.positions import Drawn
from diffpc.train.settings import IdentityLoss, LoopSettings, ObeySettings
from tests.pipelines import random_pipeline
from tests.train.test_adapter import CORNERS

P, V = len(Phrases().names), 53


def samples(seed, **fixed):
    """Random wishes."""

    def draw(generator):
        tokens = torch.randint(1000, (32,), generator=generator)
        pictures = {name: 2 * torch.rand(3, 128, 128, generator=generator) - 1 for name in ("i_3d", "i_skin")}
        latents = {
            name: torch.randn(16, 16, 16, generator=generator) for name in ("z_0", "noise", "critic_noise")
        }
        return {
            **pictures,
            **latents,
            "vector": torch.nn.functional.normalize(torch.randn(1, 128, generator=generator), dim=-1),
            "patches": torch.randn(64, 133, generator=generator),
            "tokens": tokens,
            "tokens_2": tokens,
            "phrases": (torch.rand(P, generator=generator) > 0.5).float(),
            "weights": torch.ones(P),
            **{name: (torch.rand(P, generator=generator) > 0.5).float() for name in ("looks", "photo_looks")},
            "values": torch.randn(V, generator=generator),
            "importance": torch.ones(V),
            "landmarks": CORNERS,
            "critic_timestep": torch.tensor(200),
            "turn": torch.tensor(0.6),
            "kept_adapter": torch.tensor(True),
        } | fixed

    return Drawn(seed, draw, lambda sample: "a wish")


def batch(count=2, **fixed):
    return default_collate([samples(0, **fixed)[position] for position in range(count)])


def task(weight=1.0, **settings):
    """A task on random weights, the zero-initialised injectors awake."""
    pipeline = random_pipeline()
    with torch.no_grad():
        for parameter in pipeline.id_injectors.parameters():
            parameter.add_(0.02)
    torch.manual_seed(0)
    critic = Critic(CriticSettings(16, 16, P, V, width=16))
    networks = Networks(
        pipeline.id_encoder,
        Adapter(pipeline.id_ctrl, pipeline.id_injectors),
        Judge(pipeline.vae, load_embedder("dlib"), "eye_corners_nose"),
    )
    base = Backbone(
        pipeline.vae, pipeline.text_encoder, pipeline.text_encoder_2, pipeline.unet, pipeline.scheduler
    )
    empty = torch.zeros(32, dtype=torch.int64)
    grading = ObeySettings(**{"steps": 4, **settings})
    return ObeyTask(
        base, networks, critic, (empty, empty), samples, (grading, IdentityLoss(weight, until=1000))
    )


def moved(made, term, given):
    """Names of the networks that a term's gradient reaches."""
    for module in made.modules().values():
        module.zero_grad()
    for module in made.frozen().values():
        module.requires_grad_(False)
    made.losses(given)[term].sum().backward()
    return {
        name
        for name, module in made.modules().items()
        if any(one.grad is not None and one.grad.abs().max() > 0 for one in module.parameters())
    }


def decided(made):
    """With a discriminator that has learnt something."""
    with torch.no_grad():
        for parameter in made.discriminator.parameters():
            parameter.add_(0.1)
    return made


DRAWING = {"id_encoder", "id_ctrl", "id_injectors", "unet", "text_encoder", "text_encoder_2"}


def test_it_is_a_task_whose_teacher_stays():
    made = task()
    assert isinstance(made, Task) and set(made.modules()) == DRAWING | {"discriminator"}
    trained = {id(one) for module in made.modules().values() for one in module.parameters()}
    assert not trained & {id(one) for module in made.frozen().values() for one in module.parameters()}


def test_the_way_is_the_samplers_own():
    made, given = task(), batch(2, turn=torch.tensor(0.9))
    painter, vae = made.painter, made.painter.backbone.vae
    pictures = (latents_of(given["i_3d"], vae), latents_of(given["i_skin"], vae))
    told = painter.told(given, pictures, (given["vector"], given["patches"]))
    found, timesteps = made._walked(told, given)
    assert timesteps.tolist() == [749, 749, 249, 249]  # the second and the last of 999, 749, 499, 249
    encoders = (painter.backbone.text_encoder, painter.backbone.text_encoder_2)
    conditions = Conditions(
        encode_token_ids(given["tokens"], given["tokens_2"], encoders),
        painter.id_encoder(given["vector"], given["patches"]),
        *pictures,
    )
    steps = SampleSettings(4, size=(128, 128))
    networks = Drawing(painter.backbone.unet, painter.adapter, painter.backbone.scheduler)
    seen = []
    last = denoise(networks, conditions, None, given["noise"], steps, lambda _, clean: seen.append(clean))
    drawn = painter.predict(told.twice(), found, timesteps)
    level = painter.backbone.scheduler.alphas_cumprod[249]
    clean = level.sqrt() * found[2:] - (1 - level).sqrt() * drawn[2:]
    assert torch.allclose(clean, last, atol=2e-4) and torch.allclose(seen[-1], last, atol=2e-4)


def test_without_guidance_the_first_lesson_is_what_it_does_already():
    assert task(guidance=1.0).losses(batch())["teacher"].tolist() == pytest.approx([0, 0], abs=1e-8)
    assert (task(guidance=3.0).losses(batch())["teacher"] > 1e-6).all()


@pytest.mark.parametrize("term", ["phrases", "values", "realism", "identity", "teacher"])
def test_what_is_graded_moves_what_draws_alone(term):
    assert moved(decided(task()), term, batch()) == DRAWING


def test_the_discriminators_lesson_is_its_own():
    assert moved(task(), "discriminator", batch()) == {"discriminator"}


def test_the_base_alone_answers_for_the_prompt_alone():
    made, given = task(), batch(2, kept_adapter=torch.tensor(False), weights=torch.full((P,), 0.3))
    terms = made.losses(given)
    for name in ("values", "identity", "phrases"):  # nothing is asked for: the looks were the reference's
        assert terms[name].tolist() == [0, 0]
    assert moved(decided(made), "realism", given) == {"unet", "text_encoder", "text_encoder_2"}
    assert (made.losses(batch())["values"] > 0).all()


def test_the_total_is_the_weighed_sum():
    settings = ObeySettings(steps=4, teacher=2.0, phrases=0.5, values=0.25, realism=0.125)
    made = task(
        weight=3.0, **{name: getattr(settings, name) for name in ("teacher", "phrases", "values", "realism")}
    )
    terms = made.losses(batch())
    weights = {
        "teacher": 2,
        "phrases": 0.5,
        "values": 0.25,
        "realism": 0.125,
        "discriminator": 1,
        "identity": 3,
    }
    total = sum(weight * terms[name] for name, weight in weights.items())
    assert torch.allclose(terms["total"], total, rtol=1e-5) and set(terms) == {*weights, "total"}


def test_values_weigh_what_they_matter():
    made, given = task(), batch()
    mouth = torch.zeros(V)
    mouth[7] = V
    one = made.losses(given | {"importance": mouth.expand(2, -1)})["values"]
    each = [
        made.losses(given | {"importance": V * torch.eye(V)[number].expand(2, -1)})["values"]
        for number in range(V)
    ]
    assert torch.allclose(one, each[7]) and (one > 0).all()
    assert torch.allclose(made.losses(given)["values"], torch.stack(each).mean(0), rtol=1e-4)


def test_what_is_asked_for_is_to_be_seen_beyond_doubt():
    given = batch(2, weights=torch.full((P,), 1.0))
    silent = batch(2, weights=torch.full((P,), 0.5))

    def terms(margin, wishes):
        return task(margin=margin).losses(wishes)["phrases"]

    assert (terms(2.0, given) > terms(0.0, given) + 0.1).all()
    assert torch.equal(terms(2.0, silent), terms(0.0, silent))


def test_the_last_steps_are_taught_as_much_as_the_first():
    """The clean estimate moves with the prediction by the root of 1 - abar."""
    made = task()
    abar = made.painter.backbone.scheduler.alphas_cumprod
    timesteps = torch.tensor([999, 500, 0])
    wanted = [1.0, 1 / math.sqrt(1 - float(abar[500])), 5.0]
    assert made._sureness(timesteps).tolist() == pytest.approx(wanted, rel=1e-4)


def test_the_discriminator_begins_undecided():
    made, terms = task(), task().losses(batch())
    assert terms["realism"].tolist() == [0, 0] and terms["discriminator"].tolist() == [2, 2]
    features = tuple(torch.randn(2, width, 4, 4) for width in (16, 32, 48))
    assert made.discriminator(features, torch.ones(2, P)).shape == (2, 48)


def test_without_a_judge_nobody_asks_who_it_is():
    made = task()
    made.judge = None
    assert "identity" not in made.losses(batch())


def test_a_resumed_run_ends_with_the_same_weights(tmp_path):
    def trained(folder, stop_at=None):
        settings = LoopSettings(images=6, batch=2, learning_rate=1e-3, ema_images=4.0, checkpoint_images=2)
        trainer = Trainer(task(), settings, folder)
        trainer.resume()
        trainer.run(lambda _: None, stop_at)
        return trainer.averaged()

    whole = trained(tmp_path / "whole")
    trained(tmp_path / "parts", stop_at=2)
    again = trained(tmp_path / "parts")
    assert all(torch.equal(again[name], value) for name, value in whole.items())
    fresh = dict(task().modules()["unet"].named_parameters())
    assert any(not torch.equal(whole[f"unet.{name}"], value) for name, value in fresh.items())
