"""How fast and how well `diffpc curate` works: photos per second and core, more workers, the identity stage.

    diffpc bench curate --lfw DATA/lfw --output curate-cpu.json [--parts SET/.work]

Photos of 3 megapixels are made by enlarging photos of Labeled Faces in the Wild. Rates are photos per second of
processor time: the machine may be shared, so wall-clock times would tell of its other work. The identity stage is
judged on a spoiled copy of the persons that --parts holds: of the persons of peopleDevTest, one photo in 20 is given
to another person.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PILImage

from diffpc.bench.figures import write_json
from diffpc.bench.settings import CurateBench
from diffpc.curate.choose import Candidates, choose, read_candidates
from diffpc.curate.engine import load_engine
from diffpc.curate.identity import THRESHOLDS
from diffpc.curate.parts import Told
from diffpc.curate.record import Listed
from diffpc.curate.settings import EngineSettings, PersonSettings, PhotoSettings
from diffpc.curate.stages import jpeg
from diffpc.curate.worker import PhotoPart, tools_for

SIDE = 1732
"""Of the enlarged photos: 3.0 megapixels."""

SPOILED = 20
"""One photo in so many is moved to another person."""

PAPER_PHOTOS = 650_000
CORES = 16


def enlarged(lfw: Path, count: int, folder: Path) -> list[Listed]:
    """Photos of 3 megapixels, each of another person."""
    files = sorted((lfw / "images").glob("*/*_0001.jpg"))
    listed: list[Listed] = []
    for number, file in enumerate(random.Random(0).sample(files, count)):
        photo = PILImage.open(file).resize((SIDE, SIDE), PILImage.Resampling.LANCZOS)
        copy = folder / f"{number:04d}.jpg"
        copy.write_bytes(jpeg(np.array(photo), 92))
        listed.append(Listed(copy.name, file.parent.name, str(copy), copy.stat().st_size))
    return listed


def parts_of(photos: Sequence[Listed], folder: Path, settings: PhotoSettings) -> list[PhotoPart]:
    """The photos in parts of `settings.part`."""
    starts = range(0, len(photos), settings.part)
    return [
        PhotoPart(
            folder / f"part-{start:06d}.parquet", tuple(photos[start : start + settings.part]), settings
        )
        for start in starts
    ]


def stage_rates(told: Sequence[Told]) -> dict[str, Any]:
    """Milliseconds of processor time per photo that entered a stage, and photos per second and core in all."""
    seconds = sum((Counter(one.seconds) for one in told), Counter())
    seen = sum((Counter(one.seen) for one in told), Counter())
    photos = sum(one.photos for one in told)
    return {
        "photos": photos,
        "kept": sum(one.kept for one in told),
        "milliseconds": {name: round(1000 * seconds[name] / seen[name], 1) for name in seen},
        "photos_per_second_and_core": round(photos / sum(seconds.values()), 2),
    }


def measured(photos: Sequence[Listed], workers: int, folder: Path, settings: PhotoSettings) -> dict[str, Any]:
    """Rates on Ray with so many workers, which have loaded their networks before."""
    with load_engine(EngineSettings("ray", workers)) as engine:
        list(
            engine.run(parts_of(photos[: 2 * settings.part * workers], folder / f"warm-{workers}", settings))
        )
        since = time.monotonic()
        told = list(engine.run(parts_of(photos, folder / f"timed-{workers}", settings)))
        wall = time.monotonic() - since
    return {"workers": workers, "wall_photos_per_second": round(len(photos) / wall, 2), **stage_rates(told)}


def spoiled_identity(parts: Path, people: Path, minimum: int) -> dict[str, Any]:
    """Precision and recall with which the identity stage removes photos that were given to another person."""
    names = {line.split("\t")[0] for line in people.read_text().splitlines()}
    found = read_candidates(sorted(parts.glob("photos-*/part-*.parquet")))
    many = Counter(found.persons)
    rows = [row for row, name in enumerate(found.persons) if name in names and many[name] >= minimum]
    draw = random.Random(0)
    moved = set(draw.sample(range(len(rows)), len(rows) // SPOILED))
    persons = [found.persons[row] for row in rows]
    choices = sorted(set(persons))
    wrong = [
        draw.choice([other for other in choices if other != name]) if number in moved else name
        for number, name in enumerate(persons)
    ]
    settings = PersonSettings(minimum=1, copies=-1)
    choice = choose(_rows(found, rows, wrong), "l2", THRESHOLDS["dlib"], settings)
    removed = {one.row for one in choice.left_out if one.reason == "other_person"}
    right = len(removed & moved)
    return {
        "least_photos_per_person": minimum,
        "photos": len(rows),
        "moved": len(moved),
        "removed": len(removed),
        "precision": round(right / len(removed), 4),
        "recall": round(right / len(moved), 4),
    }


def _rows(found: Candidates, rows: Sequence[int], persons: Sequence[str]) -> Candidates:
    return Candidates(
        keys=[found.keys[row] for row in rows],
        persons=persons,
        urls=[""] * len(rows),
        digests=[str(row) for row in rows],
        quality=found.quality[rows],
        fingerprints=found.fingerprints[rows],
        embeddings=found.embeddings[rows],
        places=[found.places[row] for row in rows],
    )


def run(settings: CurateBench) -> dict[str, Any]:
    """Measure and write; returns what it wrote."""
    photo = replace(PhotoSettings(), part=4)
    tools_for(photo)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos = enlarged(settings.lfw, settings.photos, folder)
        runs = [measured(photos, workers, folder, photo) for workers in (1, 2)]
    result = summary(runs, photo.size)
    if settings.parts:
        people = settings.lfw / "peopleDevTest.txt"
        result["identity_spoiled"] = [spoiled_identity(settings.parts, people, least) for least in (2, 5)]
    write_json(settings.output, result)
    return result


def summary(runs: Sequence[dict[str, Any]], size: int) -> dict[str, Any]:
    """Figures of the runs with one and with two workers, on pictures of that size."""
    one, two = (run["photos_per_second_and_core"] for run in runs)
    alone, both = (run["wall_photos_per_second"] for run in runs)
    return {
        "machine": {
            "cores": os.cpu_count(),
            "load_at_the_end": [round(value, 1) for value in os.getloadavg()],
        },
        "size": size,
        "megapixels": round(SIDE**2 / 1e6, 1),
        "runs": runs,
        "efficiency_1_to_2_workers_by_processor_time": round(two / one, 3),
        "efficiency_1_to_2_workers_by_the_clock": round(both / alone / 2, 3),
        "projection_on_paper": {
            "cores": CORES,
            "photos_per_second": round(two * CORES * 0.9, 1),
            "hours_for_the_papers_photos": round(PAPER_PHOTOS / (two * CORES * 0.9) / 3600, 1),
            "assumes": "each of 16 cores at 90 % of what one of two workers did here; photos kept, without captions",
        },
    }


def lines(content: dict[str, Any]) -> list[str]:
    """The rates in words."""
    return [
        f"{run['workers']} workers: {run['photos_per_second_and_core']} photos per second and core"
        for run in content["runs"]
    ]
