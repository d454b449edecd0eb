from dataclasses import replace

import pytest
import torch

from diffpc.errors import InputError
from diffpc.face3d.predict import condition, render_condition
from diffpc.face3d.skin import dressed
from diffpc.photos import read_photos
from diffpc.train.cache import CacheTools, build_cache
from diffpc.train.critic import NOISIEST
from diffpc.train.phrases import EXCLUDED, Phrases
from diffpc.train.positions import Samples
from diffpc.train.settings import CacheSettings, WishSettings
from diffpc.train.wishes import VALUES, WishDataset, opening, values_of
from tests.train.people import encoded, frozen_pipeline, portrait, write_folders

CAPTIONS = {
    "ada/0.jpg": ("a young woman with brown hair", "a person"),
    "bob/1.jpg": ("a man with a beard and glasses", "a man with a hat, a blue background"),
    "eve/2.jpg": ("an old woman without glasses",),
}
NAMES = Phrases().names


@pytest.fixture(scope="module")
def photos(astronaut, tmp_path_factory):
    files = {name: encoded(portrait(astronaut, number)) for number, name in enumerate(CAPTIONS)}
    found = read_photos(write_folders(tmp_path_factory.mktemp("data"), files))
    return [replace(photo, captions=CAPTIONS[photo.key]) for photo in found]


@pytest.fixture(scope="module")
def cache(photos, tmp_path_factory):
    pipeline = frozen_pipeline()
    tools = CacheTools(pipeline.eyes, pipeline.vae, {})
    settings = CacheSettings(size=64, patches=True, skin=True)
    return build_cache(photos, tools, settings, tmp_path_factory.mktemp("cache"), lambda _: None)


def dataset(photos, cache, seed=0, **settings):
    pipeline = frozen_pipeline()
    tokenizers = (pipeline.tokenizer, pipeline.tokenizer_2)
    return WishDataset(photos, cache, tokenizers, pipeline.eyes.model, WishSettings(**settings), seed)


def words(sample):
    return frozen_pipeline().tokenizer.decode(sample["tokens"], skip_special_tokens=True)


def drawn(wishes, count):
    return [
        wishes._wish(torch.rand(9, generator=torch.Generator().manual_seed(n)).tolist()) for n in range(count)
    ]


def named(values):
    return dict(zip(NAMES, values.tolist(), strict=True))


def test_a_sample_has_one_persons_skin_on_anothers_face(photos, cache):
    wishes = dataset(photos, cache, own_face=0.0)
    assert isinstance(wishes, Samples)
    seen = [wishes[position] for position in range(40)]
    sample = next(one for one in seen if one["index"] != one["reference"])
    reference, target = cache[int(sample["reference"])], cache[int(sample["index"])]
    model = frozen_pipeline().eyes.model
    params = condition(reference.params(), target.params(), target.params())
    assert torch.equal(sample["i_3d"][0], 2 * render_condition(params, model, 64, 64) - 1)
    skin = dressed(reference.known_skin(), params, model, 64, 64)
    assert torch.equal(sample["i_skin"], 2 * skin.permute(2, 0, 1) - 1)
    assert torch.equal(sample["vector"], reference.vector) and torch.equal(sample["z_0"], target.latent)
    assert torch.equal(sample["values"], values_of(cache)[int(sample["index"])])


def test_a_sample_belongs_to_its_seed_and_position(photos, cache):
    one, other = dataset(photos, cache), dataset(photos, cache)
    assert all(torch.equal(value, other[7][name]) for name, value in one[7].items())
    assert not torch.equal(one[7]["noise"], one[8]["noise"])
    assert not torch.equal(one[7]["noise"], dataset(photos, cache, seed=1)[7]["noise"])
    assert one.key(7) == other.key(7) and ".jpg" in one.key(7)


def test_the_prompt_outweighs_the_references_looks(photos, cache):
    wishes = dataset(photos, cache, text_drop=0.0, silent=0.25)
    found = [wishes[position] for position in range(60)]
    (sample, *_) = [
        one for one in found if "beard" in words(one) and one["reference"] == cache.rows["bob/1.jpg"]
    ]
    wanted, weights = named(sample["phrases"]), named(sample["weights"])
    assert (wanted["beard"], weights["beard"]) == (1, 1) and (wanted["woman"], weights["woman"]) == (
        0,
        pytest.approx(-EXCLUDED),
    )
    assert (wanted["hat"], weights["hat"]) == (1, 0.25)  # the other caption's: the photo shows one
    assert weights["blue background"] == 0


def test_nobody_is_asked_to_be_of_the_other_sex(photos, cache):
    wishes = dataset(photos, cache, text_drop=0.0)
    women = {cache.rows["ada/0.jpg"], cache.rows["eve/2.jpg"]}
    found = [(int(one["reference"]) in women, words(one)) for one in (wishes[n] for n in range(80))]
    said = {woman: {text for who, text in found if who == woman} for woman in (True, False)}
    assert said[True] and not any(" man" in text for text in said[True])
    assert said[False] and not any("woman" in text for text in said[False])


def test_rare_phrases_are_asked_for_often(photos, cache):
    captions = {"ada/0.jpg": ("a person",), "bob/1.jpg": ("a person with glasses",), "eve/2.jpg": ("a face",)}
    wishes = dataset([replace(one, captions=captions[one.key]) for one in photos], cache, text_drop=0.0)
    many = drawn(wishes, 3000)
    share = sum("glasses" in wish.prompt for wish in many) / len(many)
    assert share == pytest.approx(1 / 2 + 1 / 2 * 1 / 3, abs=0.03)  # the one look, and a third of all prompts


def test_a_lesson_changes_whom_it_is_about(photos, cache):
    wishes = dataset(photos, cache)
    found = {(lesson.prompts, lesson.references) for lesson in wishes.lessons}
    bob = "a man with a beard and glasses"
    assert ((bob,), (0, 2)) in found  # a beard, for whoever has none
    assert (("an old woman without glasses",), (1,)) in found  # none, for who has some
    assert not any("a person" in prompts for prompts, _ in found)
    every = {number for prompts, people in found for number in people if "a man with a hat" in prompts[0]}
    assert every == {0, 2}


def test_open_mouths_are_targets_often(photos, cache):
    model = frozen_pipeline().eyes.model
    direction = opening(model)
    named = [VALUES.index("expression"), model.expression_names.index("jawOpen")]
    assert direction.nonzero().flatten().tolist() == [named[1]]
    widest = max(photos, key=lambda photo: float(values_of(cache)[cache.rows[photo.key]] @ direction))
    wishes = dataset(photos, cache, open_mouth=1.0, own_face=0.0)
    assert {photos[wish.target].key for wish in drawn(wishes, 50)} == {widest.key}
    importance = dataset(photos, cache, mouth=8.0)[0]["importance"]
    assert float(importance.mean()) == pytest.approx(1) and len(importance) == 53
    assert float(importance[named[1]] / importance[0]) == pytest.approx(8)


def test_probabilities_are_kept(photos, cache):
    wishes = dataset(photos, cache, own_face=1.0, text_drop=1.0, adapter_drop=1.0)
    for position in range(5):
        sample = wishes[position]
        assert sample["index"] == sample["reference"] and words(sample) == "" and not sample["kept_adapter"]
        assert 0 <= sample["critic_timestep"] < NOISIEST and 0 <= sample["turn"] < 1


def test_photos_without_captions_are_refused(photos, cache):
    with pytest.raises(InputError, match="caption"):
        dataset([replace(one, captions=()) for one in photos], cache)
