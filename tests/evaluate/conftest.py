"""A benchmark of persons who do not exist: one real face, lit and turned differently each time."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from diffpc.evaluate.builders import build, folder_of_persons
from diffpc.evaluate.manifest import Manifest, write_manifest
from diffpc.evaluate.options import Plan
from tests.train.people import encoded, portrait, write_folders


@dataclass(frozen=True)
class Benchmark:
    manifest: Manifest
    path: Path
    photos: Path


@pytest.fixture(scope="session")
def benchmark(astronaut, tmp_path_factory):
    """Three persons, two targets, two prompts, one seed: 12 portraits."""
    names = [f"{name}/{photo}.png" for name in ("ada", "bob", "cyd") for photo in (0, 1)]
    files = {name: encoded(portrait(astronaut, number), "PNG") for number, name in enumerate(names)}
    folder = tmp_path_factory.mktemp("benchmark")
    photos = write_folders(folder / "photos", files)
    plan = Plan(persons=3, targets=2, prompts=2, seeds=1, words="plain")
    manifest = build(
        folder_of_persons(photos), photos, plan, lambda path: True, folder / "m.jsonl", "made up"
    )
    return Benchmark(manifest, folder / "m.jsonl", photos)


@pytest.fixture(scope="session")
def one_person(benchmark, tmp_path_factory):
    """Its first person with one target: 2 portraits, where a network draws them."""
    person = replace(benchmark.manifest.people[0], targets=benchmark.manifest.people[0].targets[:1])
    path = tmp_path_factory.mktemp("one") / "m.jsonl"
    return Benchmark(write_manifest(path, "one", "made up", (person,)), path, benchmark.photos)
