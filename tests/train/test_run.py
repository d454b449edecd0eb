"""The whole of `diffpc train` on photos of persons who do not exist."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch

from diffpc.cli import main
from diffpc.errors import DiffPCError, InputError, UsageError
from diffpc.images import read_image
from diffpc.loading import load_pipeline
from diffpc.train.checkpoint import load_latest
from diffpc.train.recipe import tiny
from diffpc.train.run import Places, train
from diffpc.train.settings import EngineSettings
from tests.train.people import encoded, portrait, write_folders, write_shard


@pytest.fixture(scope="module")
def data(astronaut, tmp_path_factory):
    """Two photos each of two persons, and one of a third."""
    names = ["ada/0.jpg", "ada/1.jpg", "bob/2.jpg", "bob/3.jpg", "eve/4.jpg"]
    files = {name: encoded(portrait(astronaut, number)) for number, name in enumerate(names)}
    return write_folders(tmp_path_factory.mktemp("data"), files)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """One for all runs: photos are looked at once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def places(data, cache, tmp_path):
    return Places(data=data, output=tmp_path / "run", base="tiny", cache=cache)


def recipe(**changes):
    """Five steps of two images, a checkpoint and a picture after every second one."""
    small = tiny()
    loop = replace(small.loop, images=10, batch=2, checkpoint_images=4, warmup_images=2)
    cached = replace(small.cache, mirrored=False, pictures=False)
    return replace(small, loop=loop, cache=cached, previews=1, preview_images=0, **changes)


def trained(made, places, **options):
    """The trainer and what was said."""
    said = []
    return train(made, places, said.append, progress=False, **options), said


def tensors(places):
    found = load_latest(places.output)
    assert found is not None
    return found[0]


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def whole(data, cache, tmp_path_factory):
    """Places, trainer and news of a run that nothing stopped, with pictures on its way; treat it as read-only."""
    places = Places(data=data, output=tmp_path_factory.mktemp("whole") / "run", base="tiny", cache=cache)
    return places, *trained(replace(recipe(), preview_images=4), places)


def test_a_run_leaves_checkpoints_a_log_pictures_and_curves(whole):
    places, trainer, said = whole
    assert trainer.images == 10
    assert sorted(path.name for path in places.output.glob("checkpoint-*")) == [
        "checkpoint-0000000008",
        "checkpoint-0000000010",
    ]
    assert any("1 person with a single photo left out" in line for line in said)
    pictures = sorted((places.output / "previews").iterdir())
    assert [picture.stem for picture in pictures] == ["0000000004", "0000000008"]
    assert read_image(pictures[0]).shape == (128, 5 * 128, 3)
    assert list((places.output / "tensorboard").rglob("events.out.*"))


@pytest.mark.usefixtures("other_precision")
def test_what_is_frozen_in_bfloat16_draws_pictures_and_stays_as_it_was(places):
    narrow = replace(recipe(), engine=EngineSettings(precision="bfloat16"), preview_images=4)
    trainer, _ = trained(narrow, places, stop_at=4)
    assert [one.stem for one in (places.output / "previews").iterdir()] == ["0000000004"]
    base = trainer.task.backbone.unet
    assert {value.dtype for value in base.parameters()} == {torch.bfloat16}


def test_a_stopped_run_goes_on_as_if_it_had_not(whole, places):
    trained(recipe(), places, stop_at=6)
    trainer, _ = trained(recipe(), places)
    assert trainer.images == 10
    assert same(tensors(whole[0]), tensors(places))


def test_sigkill_costs_what_came_after_the_checkpoint(whole, places):
    arguments = ["--data", places.data, "--cache-folder", places.cache]
    arguments += ["--loop.images", 10, "--loop.batch", 2, "--loop.warmup-images", 2]
    arguments += ["--loop.checkpoint-images", 4, "--preview-images", 0, "--engine.tracker", "none"]
    arguments += ["--cache.mirrored", "False", "--cache.pictures", "False", "--quiet"]
    arguments = ["train", "tiny", *map(str, arguments)]
    program = [sys.executable, "-m", "diffpc.cli", *arguments, "--output", str(places.output)]
    # One thread, as in this process: another number of them sums in another order.
    process = subprocess.Popen(program, env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 120
    while not list(places.output.glob("checkpoint-*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    assert process.wait() == -9
    before = load_latest(places.output)
    assert before is not None and 0 < before[1]["images"] < 10
    assert main([*arguments, "--output", str(places.output)]) == 0
    assert same(tensors(whole[0]), tensors(places))


def test_two_processes_build_one_cache_and_learn_what_one_does(places, tmp_path):
    """By torchrun, as a user starts them; each sees one of the two pairs of every batch."""
    arguments = ["train", "tiny", "--data", str(places.data), "--loop.images", "4", "--loop.batch", "2"]
    arguments += [
        "--cache.mirrored",
        "False",
        "--cache.pictures",
        "False",
        "--cache.part",
        "2",
        "--preview-images",
        "0",
    ]
    arguments += ["--engine.tracker", "none"]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    program = [*command, "-m", "diffpc.cli", *arguments, "--output", str(places.output)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    told = subprocess.run(program, check=True, env=environment, stderr=subprocess.PIPE, text=True).stderr
    assert told.count("2 processes share each batch of 2 images") == 1
    alone = replace(places, output=tmp_path / "alone")
    shared = places.output / "cache"
    assert main([*arguments, "--cache-folder", str(shared), "--output", str(alone.output)]) == 0
    assert len(list(shared.iterdir())) == 1  # the same settings, photos and weights: nothing is built again
    first, second = tensors(places), tensors(alone)
    weights = [name for name in first if name.startswith("weight/")]
    assert all(torch.allclose(first[name], second[name], atol=2e-5) for name in weights)


@pytest.mark.parametrize("stage", ["vae", "decoder", "base", "align", "joint"])
def test_every_stage_runs_on_a_new_base(stage, places):
    pairs = replace(recipe().pairs, same_person_pairs=stage == "joint")
    made = replace(recipe(stage=stage, pairs=pairs), window=8)
    made = replace(made, cache=replace(made.cache, pictures=True))
    trainer, _ = trained(made, replace(places, base="new"), stop_at=4)
    assert trainer.images == 4
    assert any(name.startswith("weight/") for name in tensors(places))


def test_a_changed_setting_is_named_before_any_photo_is_looked_at(places):
    trained(recipe(), places, stop_at=2)
    other = replace(recipe(), cache=replace(recipe().cache, spread=0.1))
    started = set(places.cache.iterdir())
    with pytest.raises(UsageError, match=r"cache\.spread was 1\.0, is 0\.1"):
        trained(other, places)
    assert set(places.cache.iterdir()) == started
    slower = replace(recipe(), loop=replace(recipe().loop, learning_rate=5e-4))
    with pytest.raises(UsageError, match=r"loop\.learning_rate was 0\.001, is 0\.0005"):
        trained(slower, places)


def test_changed_photos_are_noticed(places, astronaut, tmp_path):
    files = {f"ada/{n}.jpg": encoded(portrait(astronaut, n)) for n in range(2)}
    own = replace(places, data=write_folders(tmp_path / "photos", files), cache=None)
    trained(recipe(), own, stop_at=2)
    write_folders(own.data, {"ada/2.jpg": encoded(portrait(astronaut, 2))})
    with pytest.raises(UsageError, match="photos was '"):
        trained(recipe(), own)


def test_a_batch_that_does_not_divide_is_refused_before_any_photo_is_looked_at(places):
    made = replace(recipe(), engine=replace(recipe().engine, accumulation=3))
    with pytest.raises(UsageError, match="batch of 2 cannot be shared"):
        trained(made, replace(places, cache=None))
    assert not (places.output / "cache").exists()


def test_an_unknown_tracker_is_refused_at_once(places):
    made = replace(recipe(), engine=replace(recipe().engine, tracker="abacus"))
    with pytest.raises(UsageError, match="unknown tracker 'abacus'; choose auto, none or one of"):
        trained(made, places)


def test_persons_without_a_second_photo_are_no_training_set(places, astronaut, tmp_path):
    files = {f"{name}/x.jpg": encoded(portrait(astronaut, 0)) for name in ("ada", "bob")}
    alone = replace(places, data=write_folders(tmp_path / "alone", files))
    with pytest.raises(InputError, match="none of 2 persons has two usable photos"):
        trained(recipe(), alone)


def test_a_corrupt_shard_is_named(places, astronaut, tmp_path):
    shard = tmp_path / "shards" / "00000.tar"
    photo = encoded(portrait(astronaut, 0))
    write_shard(shard, [(photo, {"person": "ada", "caption": "a woman"}, None)] * 2)
    shard.write_bytes(shard.read_bytes()[:-20_000])
    with pytest.raises(InputError, match=r"00000\.tar: is no whole, uncompressed tar"):
        trained(recipe(), replace(places, data=shard.parent))


def test_a_loss_that_is_not_a_number_names_its_photos(places, monkeypatch):
    from diffpc.train import loss

    finite = loss.diffusion_loss
    monkeypatch.setattr(loss, "diffusion_loss", lambda *given: finite(*given) * float("nan"))
    with pytest.raises(
        DiffPCError, match=r"because of target (ada|bob)/\d\.jpg with reference (ada|bob)/\d\.jpg"
    ):
        trained(recipe(), places)
    assert json.loads((places.output / "checkpoint-0000000000" / "state.json").read_text())["images"] == 0


def test_an_adapter_is_trained_further_from_where_it_was(places):
    """The bundled model's, scale and all: with a rate of 0 nothing moves."""
    made = replace(recipe(), loop=replace(recipe().loop, images=2, learning_rate=0.0))
    trained(made, replace(places, start_from="tiny"))
    prefixes = ("weight/id_encoder.", "buffer/id_encoder.")
    found = {
        name.split("id_encoder.", 1)[1]: value
        for name, value in tensors(places).items()
        if name.startswith(prefixes)
    }
    wanted = load_pipeline("tiny").id_encoder.float().state_dict()
    assert same(found, dict(wanted))


def test_the_command_says_what_is_missing_or_unknown(capsys):
    assert main(["train"]) == 2
    assert "tiny_decoder" in capsys.readouterr().err
    assert main(["train", "huge"]) == 2
    assert "unknown preset 'huge'; choose one of: tiny, " in capsys.readouterr().err
    assert main(["train", "tiny", "--output", "x"]) == 2
    assert "--data is missing" in capsys.readouterr().err


def test_a_run_ends_with_what_to_do_next(places, capsys):
    arguments = [
        "--data",
        str(places.data),
        "--cache-folder",
        str(places.cache),
        "--output",
        str(places.output),
    ]
    arguments += [
        "--cache.mirrored",
        "False",
        "--cache.pictures",
        "False",
        "--loop.batch",
        "2",
        "--stop-at",
        "2",
    ]
    assert main(["train", "tiny", *arguments, "--preview-images", "0", "--engine.tracker", "none"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(f"{places.output}: 2 of 80000 images; take them along with: diffpc export")
    assert "train: " in captured.err and "img/s" in captured.err
