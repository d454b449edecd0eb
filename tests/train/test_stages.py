from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch

from diffpc.errors import UsageError
from diffpc.images import resize
from diffpc.photos import read_photos
from diffpc.train.cache import CacheTools, build_cache
from diffpc.train.critic import Critic, CriticSettings
from diffpc.train.loop import Task
from diffpc.train.phrases import Phrases
from diffpc.train.preview import FIRST, PREVIEWS, draw_pairs
from diffpc.train.recipe import RECIPES, tiny
from diffpc.train.settings import CacheSettings, Stage
from diffpc.train.stages import STAGES, Material, task, trained_modules
from diffpc.train.trackers import check_tracker
from diffpc.train.wishes import values_of
from tests.pipelines import random_pipeline
from tests.train.people import encoded, frozen_pipeline, portrait, write_folders

TRAINED = {
    "vae": {"vae"},
    "decoder": {"decoder"},
    "base": {"unet", "text_encoder", "text_encoder_2"},
    "align": {"id_encoder"},
    "adapter": {"id_encoder", "id_ctrl", "id_injectors"},
    "joint": {"id_encoder", "id_ctrl", "id_injectors", "unet", "text_encoder", "text_encoder_2"},
    "critic": {"critic"},
    "obey": {
        "id_encoder",
        "id_ctrl",
        "id_injectors",
        "unet",
        "text_encoder",
        "text_encoder_2",
        "discriminator",
    },
}
HELPERS = {"critic", "discriminator"}
"""Trained, and no part of a pipeline."""


@pytest.fixture(scope="module")
def material(astronaut, tmp_path_factory):
    files = {f"{name}/{n}.jpg": encoded(portrait(astronaut, n)) for name in ("ada", "bob") for n in range(2)}
    photos = read_photos(write_folders(tmp_path_factory.mktemp("data"), files))
    photos = [replace(photo, captions=("a person with a hat",)) for photo in photos]
    pipeline = frozen_pipeline()
    settings = CacheSettings(size=64, pictures=True, patches=True, skin=True)
    tools = CacheTools(pipeline.eyes, pipeline.vae, {})
    cache = build_cache(photos, tools, settings, tmp_path_factory.mktemp("cache"), print)
    critic = Critic(CriticSettings(16, 8, len(Phrases().names), values_of(cache).shape[1], width=16))
    return Material(photos, cache, critic)


def recipe(stage):
    small = tiny()
    return replace(small, stage=stage, cache=replace(small.cache, size=64), window=4)


@pytest.mark.parametrize("stage", get_args(Stage))
def test_every_stage_trains_its_part_alone(stage, material):
    pipeline = frozen_pipeline()
    made = task(recipe(stage), pipeline, material)
    assert isinstance(made, Task)
    assert set(made.modules()) == TRAINED[stage]
    names = {name: dict(module.named_parameters()) for name, module in made.modules().items()}
    parts = {name: dict(part.named_parameters()) for name, part in trained_modules(stage, pipeline).items()}
    assert names.keys() - HELPERS == parts.keys()
    assert all(names[name][key] is value for name in parts for key, value in parts[name].items())
    batch = torch.utils.data.default_collate([made.samples(0)[position] for position in range(2)])
    terms = made.losses(batch)
    assert terms["total"].shape == (2,) and torch.isfinite(terms["total"]).all()


@pytest.mark.parametrize("stage", sorted(PREVIEWS))
def test_every_picture_of_progress_has_the_rows_asked_for(stage, material):
    pipeline = frozen_pipeline()
    samples = task(recipe(stage), pipeline, material).samples(0)
    side = 32 if stage in ("vae", "decoder") else 64
    columns = {"vae": 2, "decoder": 2, "base": 2}.get(stage, 5)
    picture = PREVIEWS[stage](pipeline, samples, 2)
    assert picture.shape == (2 * side, columns * side, 3) and picture.std() > 0


def test_a_picture_of_pairs_begins_with_the_references_crop(material):
    samples = task(recipe("adapter"), frozen_pipeline(), material).samples(0)
    picture = draw_pairs(frozen_pipeline(), samples, 1)
    crop = material.cache[int(samples[FIRST]["reference"])].crop.permute(1, 2, 0).numpy()
    assert np.array_equal(picture[:, :64], resize(np.ascontiguousarray(crop), 64, 64))


def test_grading_wants_a_critic_and_a_model_that_can_be_graded(material):
    with pytest.raises(UsageError, match="--critic is missing; train one"):
        task(recipe("obey"), frozen_pipeline(), replace(material, critic=None))
    settings = replace(material.critic.settings, phrases=3)
    with pytest.raises(UsageError, match="train one of this base"):
        task(recipe("obey"), frozen_pipeline(), replace(material, critic=Critic(settings)))
    plain = random_pipeline(adapter=replace(tiny().model.adapter, skin=False))
    with pytest.raises(UsageError, match="told skin"):
        task(recipe("obey"), plain, material)


def test_a_critic_learns_what_the_captions_say(material):
    made = task(recipe("critic"), frozen_pipeline(), material)
    names = Phrases().names
    assert made.phrases.tolist() == [[float(name == "hat") for name in names]] * 4
    assert torch.equal(made.values, values_of(material.cache)) and made.values.shape == (4, 53)


def test_stages_and_recipes_belong_together():
    assert set(STAGES) == set(get_args(Stage))
    assert {made().stage for made in RECIPES.values()} == set(STAGES)
    for made in RECIPES.values():
        check_tracker(made().engine.tracker)
