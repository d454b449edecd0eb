import json
import pickle
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from diffpc.diffusion.backbone import build_vae
from diffpc.errors import InputError, UsageError
from diffpc.face3d.predict import render_condition
from diffpc.photos import read_photos
from diffpc.pipeline import Control
from diffpc.presets import tiny
from diffpc.train import cache as cache_module
from diffpc.train.cache import Cache, CacheTools, Crew, _index_of, build_cache, face_mask
from diffpc.train.examine import examine
from diffpc.train.settings import CacheSettings
from tests.train.people import encoded, frozen_pipeline, portrait, write_folders

SETTINGS = CacheSettings(size=64, part=2, batch=2)


def content(folder):
    """Name -> bytes of every file, hidden ones too."""
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture(scope="module", autouse=True)
def examined_once():
    """Builds are many, and a photo's faces stay the same: `examine` is remembered."""
    known = {}

    def remembered(photo, eyes, settings):
        key = (photo.key, settings)
        known[key] = known.get(key) or examine(photo, eyes, settings)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("diffpc.train.cache.examine", remembered)
        yield


@pytest.fixture(scope="module")
def pipeline():
    return frozen_pipeline()


@pytest.fixture(scope="module")
def tools(pipeline):
    return CacheTools(pipeline.eyes, pipeline.vae, {"face": "a hash"})


@pytest.fixture(scope="module")
def photos(astronaut, tmp_path_factory):
    files = {f"ada/{number}.jpg": encoded(portrait(astronaut, number)) for number in range(2)}
    files |= {"ada/bad.jpg": b"no photo", "bob/x.jpg": encoded(portrait(astronaut, 2))}
    return read_photos(write_folders(tmp_path_factory.mktemp("data"), files))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("caches")


@pytest.fixture(scope="module")
def built(photos, tools, folder):
    """The cache, and what was reported."""
    messages = []
    return build_cache(photos, tools, SETTINGS, folder, messages.append), messages


@pytest.fixture
def copied(built, tmp_path):
    """A copy that may be damaged."""
    return shutil.copytree(built[0].folder, tmp_path / built[0].folder.name)


def test_accepted_photos_are_rows_and_the_others_are_listed(built):
    cache, messages = built
    assert cache.keys == ["ada/0.jpg", "ada/1.jpg", "bob/x.jpg"]
    assert cache.rows["bob/x.jpg"] == 2 and len(cache) == 3 and cache.layout == "eye_corners_nose"
    assert messages == [
        "part 1 of 2: 2 photos examined, 0 refused",
        "part 2 of 2: 2 photos examined, 1 refused",
        f"1 of 4 photos refused; {cache.folder / 'rejects.jsonl'} says why",
    ]
    (reject,) = [json.loads(line) for line in (cache.folder / "rejects.jsonl").read_text().splitlines()]
    assert (reject["key"], reject["stage"]) == ("ada/bad.jpg", "decode")
    assert reject["reason"].startswith("ada/bad.jpg: is not an image")


def test_a_row_is_what_the_pipeline_would_compute(built, photos, pipeline):
    cached, photo = built[0][2], photos[3]
    found = examine(photo, pipeline.eyes, SETTINGS)
    picture = torch.from_numpy(found.picture).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        mode = pipeline.vae.encode(picture).latent_dist.mode()[0]
    assert cached.latent.shape == (16, 8, 8) and cached.latent.dtype == torch.float16
    assert torch.allclose(cached.latent.float(), mode * pipeline.vae.config["scaling_factor"], atol=2e-3)
    z_3d = pipeline.encode_control(Control(found.params, (0.0, 0.0, 64.0, 64.0), found.i_3d), 1)[0][0]
    assert torch.allclose(cached.z_3d.float(), z_3d, atol=2e-3)
    assert torch.equal(cached.landmarks, torch.from_numpy(found.landmarks).float())
    assert torch.equal(cached.crop, torch.from_numpy(found.features.cut).permute(2, 0, 1))
    assert torch.equal(cached.vector, found.features.global_vector[0])
    assert torch.allclose(cached.vector.norm(), torch.tensor(1.0))
    assert cached.patches is None
    assert cached.skin is None and "skin" not in built[0].names
    with pytest.raises(UsageError, match="holds no skin"):
        cached.known_skin()
    again = render_condition(cached.params(), pipeline.eyes.model, 64, 64)
    assert torch.allclose(again, found.i_3d, atol=1e-3)
    assert torch.equal(cached.params().shape, found.params.shape)


def test_processes_share_the_work_and_build_what_one_would(photos, tools, built, tmp_path):
    """Two crew members as threads: the barrier is real, the parts are one each."""
    barrier, messages = threading.Barrier(2), ([], [])

    def build(rank):
        crew = Crew(rank, 2, lambda: barrier.wait(60) and None)
        return build_cache(photos, tools, SETTINGS, tmp_path, messages[rank].append, crew)

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(build, range(2))
    assert first.keys == second.keys == built[0].keys
    assert content(first.folder) == content(built[0].folder)
    assert messages[0][0].startswith("part 1 of 2:") and len(messages[0]) == 2
    assert messages[1] == ["part 2 of 2: 2 photos examined, 1 refused"]


def test_pictures_are_kept_where_they_are_wanted(photos, tools, built, pipeline, tmp_path):
    cache = build_cache(photos[:1], tools, replace(SETTINGS, pictures=True), tmp_path, lambda _: None)
    found = examine(photos[0], pipeline.eyes, SETTINGS)
    assert torch.equal(cache[0].picture, torch.from_numpy(found.picture).permute(2, 0, 1))
    assert built[0][0].picture is None


def test_a_decoder_of_its_own_changes_no_latents(photos, tools):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        other = build_vae(tiny().backbone)
    other.encoder.load_state_dict(tools.vae.encoder.state_dict())
    other.quant_conv.load_state_dict(tools.vae.quant_conv.state_dict())
    same = _index_of(photos, replace(tools, vae=other), SETTINGS)
    assert same["digest"] == _index_of(photos, tools, SETTINGS)["digest"]


def test_columns_are_all_rows(built):
    cache = built[0]
    assert torch.equal(cache.column("vector"), torch.stack([cache[row].vector for row in range(3)]))
    assert cache.column("eyelid").shape == (3, 0)
    with pytest.raises(UsageError, match="holds no 'patches'; choose one of: camera, crop"):
        cache.column("patches")


def test_patches_are_kept_where_they_are_wanted(photos, tools, tmp_path):
    cache = build_cache(photos[:1], tools, replace(SETTINGS, patches=True), tmp_path, lambda _: None)
    crops = cache[0].crop[None].float() / 127.5 - 1
    assert torch.equal(cache[0].patches, tools.eyes.tools.local(crops)[0].half())


def test_a_whole_cache_is_opened_and_not_computed(built, photos, tools, folder, monkeypatch):
    before = content(built[0].folder)
    monkeypatch.setattr("diffpc.train.cache.examine", None)
    messages = []
    again = build_cache(photos, tools, SETTINGS, folder, messages.append)
    assert (again.keys, len(messages)) == (built[0].keys, 1)
    assert content(built[0].folder) == before


def broken_off(folder, state):
    """What a kill leaves behind."""
    for name in state["gone"]:
        (folder / name).unlink()
    for name, part in state["left"].items():
        (folder / name).write_bytes(part)


STATES = {
    "in the first part": {
        "gone": ["rejects.jsonl", *[f"part-0000{number}.safetensors" for number in range(2)]],
        "left": {},
    },
    "while writing the last part": {
        "gone": ["rejects.jsonl", "part-00001.safetensors"],
        "left": {".part-00001.safetensors.0badcafe.tmp": b"half"},
    },
    "and a part was cut short later": {
        "gone": ["rejects.jsonl"],
        "left": {"part-00000.safetensors": b"\x10\0\0\0\0\0\0\0{"},
    },
}


@pytest.mark.parametrize("state", STATES)
def test_a_build_goes_on_where_it_was_killed(built, copied, photos, tools, state):
    broken_off(copied, STATES[state])
    with (
        pytest.raises(InputError, match=r"part-0000\d.safetensors: is missing or damaged; run the same")
        if len(STATES[state]["gone"] + list(STATES[state]["left"]))
        else None
    ):
        Cache(copied)
    build_cache(photos, tools, SETTINGS, copied.parent, lambda _: None)
    assert content(copied) == content(built[0].folder)


def test_a_build_that_is_stopped_anywhere_goes_on(built, photos, tools, tmp_path, monkeypatch):
    real = cache_module.examine
    for calls in range(len(photos)):
        left = iter(range(calls))

        def stopped(photo, eyes, settings, left=left):
            if next(left, None) is None:
                raise KeyboardInterrupt
            return real(photo, eyes, settings)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(cache_module, "examine", stopped)
            build_cache(photos, tools, SETTINGS, tmp_path / str(calls), lambda _: None)
        (place,) = (tmp_path / str(calls)).iterdir()
        assert len(list(place.glob("part-*"))) == calls // SETTINGS.part
        build_cache(photos, tools, SETTINGS, tmp_path / str(calls), lambda _: None)
        assert content(place) == content(built[0].folder)


def test_what_values_depend_on_makes_another_cache(photos, tools):
    def digest(photos=photos, tools=tools, settings=SETTINGS):
        return _index_of(photos, tools, settings)["digest"]

    other = build_vae(tiny().backbone)
    faces = replace(tools.eyes.settings, reference_scale=1.5)
    eyes = type(tools.eyes)(faces)
    changes = [
        digest(photos[:-1]),
        digest([replace(photos[0], size=1), *photos[1:]]),
        digest(tools=replace(tools, vae=other)),
        digest(tools=replace(tools, eyes=eyes)),
        digest(tools=replace(tools, weights={"face": "another"})),
        digest(settings=replace(SETTINGS, spread=0.0)),
        digest(settings=replace(SETTINGS, part=3)),
    ]
    assert len({digest(), *changes}) == 8
    moved = [replace(photo, captions=("new",), person="x", file=photo.file.parent) for photo in photos]
    assert digest(moved) == digest(settings=replace(SETTINGS, batch=7)) == digest()


def test_a_foreign_index_is_refused(copied, photos, tools):
    index = json.loads((copied / "cache.json").read_text())
    (copied / "cache.json").write_text(json.dumps({**index, "weights": {}}))
    with pytest.raises(
        InputError, match=r"cache\.json: is not of these photos, settings and weights; remove"
    ):
        build_cache(photos, tools, SETTINGS, copied.parent, lambda _: None)
    for damaged in ("", "{}", "[]", '{"photos": 5, "settings": {"part": 0}}'):
        (copied / "cache.json").write_text(damaged)
        with pytest.raises(InputError, match=r"cache\.json: is no index of a cache"):
            Cache(copied)
    with pytest.raises(InputError, match="is no index of a cache"):
        Cache(copied / "nowhere")


def test_a_cache_of_refused_photos_only_says_so(photos, tools, tmp_path):
    with pytest.raises(InputError, match=r"all photos were refused; rejects\.jsonl there says why"):
        build_cache(photos[2:3], tools, SETTINGS, tmp_path, lambda _: None)
    assert len(list(tmp_path.glob("*/rejects.jsonl"))) == 1


def test_wrong_requests_are_refused(photos, tools, pipeline, tmp_path):
    cases = [
        (photos, tools, replace(SETTINGS, size=60), "size 60 does not fit the VAE; choose a multiple of 8"),
        (photos, tools, replace(SETTINGS, spread=1.5), "spread is 0 to 1"),
        (photos, tools, replace(SETTINGS, part=0), "all others are above 0"),
        ([*photos, photos[0]], tools, SETTINGS, "5 photos, some with one key"),
        ([], tools, SETTINGS, "give at least one"),
    ]
    for given, own, settings, message in cases:
        with pytest.raises(UsageError, match=message):
            build_cache(given, own, settings, tmp_path, lambda _: None)
    half = replace(tools, vae=build_vae(tiny().backbone).to(torch.bfloat16))
    with pytest.raises(UsageError, match=r"torch\.bfloat16; load it as float32"):
        build_cache(photos, half, SETTINGS, tmp_path, lambda _: None)
    assert list(tmp_path.iterdir()) == []


def test_a_cache_travels_to_other_processes(built):
    cache = built[0]
    assert cache[0] is not None
    again = pickle.loads(pickle.dumps(cache))
    assert np.array_equal(again[1].latent, cache[1].latent)


def test_skin_is_kept_where_it_is_wanted(photos, tools, tmp_path):
    settings = replace(SETTINGS, skin=True)
    cached = build_cache(photos, tools, settings, tmp_path, lambda _: None)[2]
    wanted, found = examine(photos[3], tools.eyes, settings).skin, cached.known_skin()
    assert found.picture.shape == (96, 96, 3) and np.array_equal(found.picture, wanted.picture)
    assert torch.equal(found.points, wanted.points) and torch.equal(found.facing, wanted.facing)


def test_the_face_is_told_in_latents():
    i_3d = torch.zeros(1, 32, 40)
    i_3d[0, 16, 9] = 0.4
    wanted = torch.zeros(4, 5, dtype=torch.uint8)
    wanted[1:4, 0:3] = 1
    assert torch.equal(face_mask(i_3d, 8)[0], wanted)
