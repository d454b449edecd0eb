from collections import Counter
from dataclasses import replace
from functools import partial
from itertools import islice

import pytest
import torch
from torch.utils.data import default_collate

from diffpc.errors import InputError, UsageError
from diffpc.face3d.skin import dressed
from diffpc.photos import read_photos
from diffpc.train.cache import CacheTools, build_cache
from diffpc.train.examine import Refused, examine
from diffpc.train.pairs import DENSITIES, PairDataset, _another, _first, pick
from diffpc.train.positions import Samples, Share, generator_at, loader
from diffpc.train.settings import CacheSettings, ExamineSettings, PairSettings
from tests.train.people import encoded, frozen_pipeline, portrait, write_folders

ALL = PairSettings(text_drop=0.0, global_drop=0.0, local_drop=0.0, identity_drop=0.0)
"""Nothing is dropped."""


@pytest.fixture(scope="module")
def pipeline():
    return frozen_pipeline()


@pytest.fixture(scope="module")
def photos(astronaut, tmp_path_factory):
    """Three of ada, two of bob, one of eve, and one of bob that is refused."""
    names = ["ada/0.jpg", "ada/1.jpg", "ada/2.jpg", "bob/3.jpg", "bob/4.jpg", "eve/5.jpg"]
    files = {name: encoded(portrait(astronaut, 0)) for name in names} | {"bob/bad.jpg": b"no photo"}
    found = read_photos(write_folders(tmp_path_factory.mktemp("data"), files))
    captions = {"ada/0.jpg": ("one", "two", "three"), "bob/3.jpg": ("a man",)}
    return [replace(photo, captions=captions.get(photo.key, ())) for photo in found]


@pytest.fixture(scope="module")
def caches(photos, pipeline, tmp_path_factory):
    """One with the crops alone and one with patches; all photos show what the first one does, but for marks."""
    seen = examine(photos[0], pipeline.eyes, ExamineSettings(size=64, patches=True))

    def marked(photo, eyes, settings):
        if photo.key == "bob/bad.jpg":
            return Refused(photo.key, "decode", "no photo")
        number = int(photo.key[4])
        vector = torch.nn.functional.one_hot(torch.tensor([[number]]), 128).float()
        patches, cut = seen.features.patches + number, seen.features.cut // (number + 1)
        features = replace(seen.features, global_vector=vector, patches=patches, cut=cut)
        picture, landmarks = seen.picture // (number + 1), seen.landmarks + number
        return replace(seen, key=photo.key, picture=picture, landmarks=landmarks, features=features)

    tools, folder = CacheTools(pipeline.eyes, pipeline.vae, {}), tmp_path_factory.mktemp("cache")
    settings = CacheSettings(size=64, part=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("diffpc.train.cache.examine", marked)
        built = [
            build_cache(photos, tools, replace(settings, patches=kept), folder, lambda _: None)
            for kept in (False, True)
        ]
    return built


@pytest.fixture(scope="module")
def cache(caches):
    return caches[0]


@pytest.fixture(scope="module")
def pairs(photos, cache, pipeline):
    """Settings and seed -> the samples."""
    tokenizers = (pipeline.tokenizer, pipeline.tokenizer_2)
    return partial(PairDataset, photos, cache, tokenizers)


def names(dataset, count=200):
    """Target and reference of many samples."""
    return [
        tuple(dataset.key(position).removeprefix("target ").split(" with reference "))
        for position in range(count)
    ]


def ids_of(text, pipeline):
    return pipeline.tokenizer(text, padding="max_length", return_tensors="pt").input_ids[0]


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_a_sample_is_what_training_needs(pairs, cache, pipeline):
    dataset = pairs(ALL, 3)
    assert isinstance(dataset, Samples)
    position = next(number for number in range(99) if dataset.key(number).startswith("target bob/3.jpg"))
    assert dataset.key(position) == "target bob/3.jpg with reference bob/4.jpg"
    sample = dataset[position]
    target, reference = cache[cache.rows["bob/3.jpg"]], cache[cache.rows["bob/4.jpg"]]
    assert (int(sample["index"]), int(sample["reference"])) == (3, 4)
    assert sample["vector"][0].argmax() == 4  # as marked
    assert torch.equal(sample["z_0"], target.latent) and torch.equal(sample["z_3d"], target.z_3d)
    assert torch.equal(sample["landmarks"], target.landmarks)
    assert torch.equal(sample["vector"], reference.vector)
    assert torch.equal(sample["crop"], reference.crop / 127.5 - 1) and sample["crop"].shape == (3, 150, 150)
    assert torch.equal(sample["tokens"], ids_of("a man", pipeline))
    assert sample["tokens_2"].shape == (pipeline.tokenizer_2.model_max_length,)
    assert sample["noise"].shape == (16, 8, 8) and sample["noise"].dtype == torch.float32
    assert sample["timestep"].dtype == torch.int64 and 0 <= int(sample["timestep"]) < 1000
    assert bool(sample["kept_global"]) and bool(sample["kept_local"])


def test_patches_stand_in_for_the_crop_where_the_cache_has_them(photos, caches, pipeline):
    dataset = PairDataset(photos, caches[1], (pipeline.tokenizer, pipeline.tokenizer_2), ALL)
    sample = dataset[0]
    assert "crop" not in sample and sample["patches"].dtype == torch.float16
    assert torch.equal(sample["patches"], caches[1].column("patches")[int(sample["reference"])])


def test_the_reference_is_always_another_photo_of_the_person(pairs):
    drawn = Counter(names(pairs(ALL)))
    assert set(drawn) == {
        *[(f"ada/{a}.jpg", f"ada/{b}.jpg") for a in range(3) for b in range(3) if a != b],
        ("bob/3.jpg", "bob/4.jpg"),
        ("bob/4.jpg", "bob/3.jpg"),
    }


def test_without_same_person_pairs_the_reference_is_the_target(pairs):
    alone = pairs(replace(ALL, same_person_pairs=False))
    drawn = names(alone)
    assert all(target == reference for target, reference in drawn)
    assert "eve/5.jpg" in {target for target, _ in drawn} and alone.messages == []
    assert pairs(ALL).messages == ["1 person with a single photo left out"]


def test_targets_are_uniform_over_photos_or_persons(pairs):
    by_photo = Counter(target[:3] for target, _ in names(pairs(ALL), 500))
    assert by_photo["ada"] / 500 == pytest.approx(3 / 5, abs=0.07)
    by_person = Counter(target[:3] for target, _ in names(pairs(replace(ALL, targets="persons")), 500))
    assert by_person["ada"] / 500 == pytest.approx(1 / 2, abs=0.06)
    first = Counter(target for target, _ in names(pairs(replace(ALL, per_person=2))))
    assert set(first) == {"ada/0.jpg", "ada/1.jpg", "bob/3.jpg", "bob/4.jpg"}


def test_captions_are_drawn_and_dropped(pairs, pipeline):
    dataset, silent = pairs(ALL), pairs(replace(ALL, text_drop=1.0))
    of_ada = [place for place, (target, _) in enumerate(names(dataset)) if target == "ada/0.jpg"]
    drawn = torch.stack([dataset[place]["tokens"] for place in of_ada])
    shares = [
        (drawn == ids_of(text, pipeline)).all(1).float().mean().item() for text in ("one", "two", "three")
    ]
    assert sum(shares) == pytest.approx(1) and min(shares) > 0.15
    assert torch.equal(silent[of_ada[0]]["tokens"], ids_of("", pipeline))
    uncaptioned = next(place for place, (target, _) in enumerate(names(dataset)) if target == "ada/1.jpg")
    assert torch.equal(dataset[uncaptioned]["tokens"], ids_of("", pipeline))


def test_features_are_dropped_at_the_given_rates(pairs):
    def shares(**drops):
        dataset = pairs(replace(ALL, **drops))
        kept = [dataset._draw(generator_at(0, position)) for position in range(300)]
        first, second = [one.kept_global for one in kept], [one.kept_local for one in kept]
        both = sum(not (a or b) for a, b in zip(first, second, strict=True))
        return [*(1 - sum(one) / 300 for one in (first, second)), both / 300]

    assert shares() == [0, 0, 0]
    assert shares(global_drop=0.25) == pytest.approx([0.25, 0, 0], abs=0.06)
    assert shares(local_drop=0.25) == pytest.approx([0, 0.25, 0], abs=0.06)
    assert shares(identity_drop=0.25) == pytest.approx([0.25, 0.25, 0.25], abs=0.06)
    assert shares(global_drop=1.0, local_drop=1.0) == [1, 1, 1]


def test_the_adapter_is_dropped_at_the_given_rate(pairs):
    dataset = pairs(replace(ALL, adapter_drop=0.25))
    kept = [dataset._draw(generator_at(0, position)).kept_adapter for position in range(300)]
    assert 1 - sum(kept) / 300 == pytest.approx(0.25, abs=0.06)
    assert bool(pairs(ALL)[0]["kept_adapter"])


def test_the_logit_normal_density_is_the_logistic_of_a_normal():
    """At the normal's quantiles of -1, 0 and 1: 1 / (1 + e), 1/2, e / (1 + e)."""
    density = DENSITIES["logit_normal"]
    found = [density(number) for number in (0.158655254, 0.5, 0.841344746)]
    assert found == pytest.approx([0.268941421, 0.5, 0.731058579])
    assert 0 < density(0.0) < density(1e-12) < density(1 - 1e-12) < 1


def test_timesteps_have_the_wanted_density(pairs):
    def mean(density):
        dataset = pairs(replace(ALL, density=density))
        return sum(dataset._draw(generator_at(0, position)).timestep for position in range(600)) / 600

    assert mean("uniform") == pytest.approx(500, abs=35)
    assert mean("linear") == pytest.approx(1000 * 2 / 3, abs=30)


def test_a_mirror_image_is_a_target_of_its_own_and_no_reference_of_its_photo(photos, cache, pipeline):
    own = [photos[0], photos[1]]
    group = tuple(one for photo in own for one in (photo, photo.mirror()))
    drawn = {
        (group[place].key, _another(group, place, number).key) for place in range(4) for number in (0.0, 0.9)
    }
    first, second = ({"ada/0.jpg", "ada/0.jpg mirrored"}, {"ada/1.jpg", "ada/1.jpg mirrored"})
    assert drawn == {(a, b) for a in first for b in second} | {(a, b) for a in second for b in first}
    assert _first([*group, photos[2]], 2) == group


def test_one_setting_leaves_the_other_choices_as_they_are(pairs):
    plain, dropped = pairs(ALL), pairs(replace(ALL, text_drop=1.0, global_drop=1.0))
    for position in range(5):
        first, second = plain[position], dropped[position]
        changed = ("tokens", "tokens_2", "kept_global")
        assert all(torch.equal(first[name], second[name]) for name in first if name not in changed)


def test_a_sample_belongs_to_its_seed_and_position(pairs):
    first, again, other = pairs(PairSettings(), 1), pairs(PairSettings(), 1), pairs(PairSettings(), 2)
    backwards = [again[position] for position in reversed(range(6))][::-1]
    assert all(same(first[position], backwards[position]) for position in range(6))
    assert not any(torch.equal(first[n]["noise"], other[n]["noise"]) for n in range(6))
    assert not torch.equal(first[0]["noise"], first[1]["noise"])
    assert first.key(3) == again.key(3)


def test_samples_do_not_depend_on_processes_or_workers(pairs):
    def stream(world, pieces, workers=0):
        """The samples of two steps from position 8 on, in the order of their positions."""
        parts = [
            loader(pairs(), Share(8, 4, rank, world, pieces), workers, pin=False) for rank in range(world)
        ]
        batches = [batch for part in parts for batch in islice(part, 2 * pieces)]
        rows = [
            {name: value[n] for name, value in batch.items()}
            for batch in batches
            for n in range(len(batch["z_0"]))
        ]
        return sorted(rows, key=lambda row: int(row["position"]))

    wanted = stream(1, 1)
    assert [int(row["position"]) for row in wanted] == list(range(8, 16))
    for world, pieces, workers in ((2, 1, 0), (4, 1, 0), (2, 2, 0), (1, 1, 1)):
        found = stream(world, pieces, workers)
        assert len(found) == 8 and all(map(same, wanted, found))


def test_samples_can_be_collated(pairs):
    batch = default_collate([pairs()[position] for position in range(3)])
    assert batch["z_0"].shape == (3, 16, 8, 8) and batch["timestep"].shape == (3,)
    assert batch["kept_local"].dtype == torch.bool and batch["vector"].shape == (3, 1, 128)


def test_numbers_become_choices():
    assert [pick(number, 3) for number in (0.0, 0.33, 0.34, 0.999, 1 - 2**-53)] == [0, 0, 1, 2, 2]


def test_wrong_requests_are_refused(photos, cache, pairs, pipeline):
    for change, message in (
        ({"text_drop": 1.5}, "text_drop is 1.5, expected a probability"),
        ({"per_person": 1}, "per_person is 1, expected at least 2"),
        ({"timesteps": 0}, "timesteps is 0"),
    ):
        with pytest.raises(UsageError, match=message):
            pairs(replace(ALL, **change))
    tokenizers = (pipeline.tokenizer, pipeline.tokenizer_2)
    with pytest.raises(InputError, match="holds none of the 1 photos"):
        PairDataset([replace(photos[0], key="x")], cache, tokenizers)
    with pytest.raises(InputError, match="none of 2 persons has two usable photos"):
        PairDataset([photos[0], photos[3]], cache, tokenizers)


def test_skin_is_the_references_on_the_targets_face(photos, pipeline, tmp_path):
    tools = CacheTools(pipeline.eyes, pipeline.vae, {})
    cache = build_cache(photos[:2], tools, CacheSettings(size=64, skin=True), tmp_path, lambda _: None)
    tokenizers, model = (pipeline.tokenizer, pipeline.tokenizer_2), pipeline.eyes.model
    keep, drop = (
        PairDataset(photos, cache, tokenizers, replace(ALL, skin_drop=p), 0, model) for p in (0.0, 1.0)
    )
    sample, reference = keep[0], cache[int(keep[0]["reference"])]
    wanted = dressed(reference.known_skin(), cache[int(sample["index"])].params(), model, 64, 64)
    assert torch.allclose(sample["i_skin"], 2 * wanted.permute(2, 0, 1) - 1) and bool(sample["kept_skin"])
    assert sample["i_skin"].std() > 0.1
    assert not drop[0]["kept_skin"] and not drop[0]["i_skin"].any()
    nobody = PairDataset(photos, cache, tokenizers, replace(ALL, skin_drop=0.0, identity_drop=1.0), 0, model)
    assert not nobody[0]["kept_skin"]
    assert "i_skin" not in PairDataset(photos, cache, tokenizers, ALL)[0]
    own = PairDataset(photos, cache, tokenizers, replace(ALL, skin_drop=0.0, own_skin=1.0), 0, model)[0]
    target = cache[int(own["index"])]
    mine = 2 * dressed(target.known_skin(), target.params(), model, 64, 64).permute(2, 0, 1) - 1
    known = mine != 0
    assert (own["i_skin"][~known] == 0).all()
    assert 0 < (own["i_skin"] - mine)[known].abs().mean() < 0.2
    assert torch.corrcoef(torch.stack([own["i_skin"][known], mine[known]]))[0, 1] > 0.95


def test_a_cache_without_skin_is_refused(photos, caches, pipeline):
    tokenizers = (pipeline.tokenizer, pipeline.tokenizer_2)
    with pytest.raises(UsageError, match="holds no skin"):
        PairDataset(photos, caches[0], tokenizers, ALL, 0, pipeline.eyes.model)
