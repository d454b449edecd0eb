"""The report about a set: what is in it, what was left out and why, as a page with pictures.

The quantities are those of the paper's Tables 1 and 8 and Figures 15, 16, 18 and 19. Race is left out on purpose: it
cannot be read off a face, and a guess about it helps nobody to use or judge the set.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from diffpc.curate.figures import bars, contact_sheet, histogram
from diffpc.curate.parts import read_columns
from diffpc.curate.record import REASONS
from diffpc.curate.run import REJECTS, TIMES
from diffpc.curate.settings import CurateSettings
from diffpc.curate.traits import emotion_of, traits_of
from diffpc.files import atomic_write
from diffpc.photos import INDEX

FOLDER, PAGE = "report/figures", "report.html"
"""Two folders deep: a folder with pictures in it beside shards would be taken for a person's."""

SHOWN = 48
"""Photos on a contact sheet."""

COLUMNS = (
    "key", "person", "photo_size", "square", "face_share", "quality", "similarity", "yaw", "pitch", "captions",
    "measures", "attributes",
)  # fmt: skip

PAPER = {"persons": "32,000", "photos": "650,000", "size": "1024 x 1024"}
"""What the paper says of its own set."""

_STYLE = (
    "body{font:15px/1.5 sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;color:#222}"
    "table{border-collapse:collapse;margin:1em 0}td,th{border:1px solid #ccd;padding:.3em .7em;text-align:left}"
    "img{max-width:100%}figure{display:inline-block;margin:.4em}figcaption{font-size:13px;color:#555}"
)


@dataclass(frozen=True)
class Set:
    """What the report is about."""

    photos: Sequence[Mapping[str, Any]]
    """COLUMNS of every photo."""
    rejects: Sequence[Mapping[str, Any]]
    """Rows of rejects.parquet."""
    persons: Mapping[str, Sequence[str]]
    """Person -> keys."""
    times: Mapping[str, Mapping[str, float]]
    """Stage -> count and processor seconds."""


def write_report(destination: Path, parts: Path, settings: CurateSettings) -> Path:
    """Write report.html and its pictures; returns the page.

    Args:
        destination: a complete set.
        parts: the work folder; where it was removed, the contact sheets are left out.
        settings: of the set.

    Raises:
        InputError: if the set is damaged or the report cannot be written.
    """
    found = _read(destination)
    folder = destination / FOLDER
    figures = _figures(folder, found)
    sheets = _sheets(folder, found, parts)
    page = _page(found, settings, figures, sheets)
    with atomic_write(destination / PAGE) as stream:
        stream.write(page.encode())
    return destination / PAGE


def _read(destination: Path) -> Set:
    tables = [read_columns(file, COLUMNS) for file in sorted(destination.glob("[0-9]" * 5 + ".parquet"))]
    rejects = read_columns(destination / REJECTS, ("source_key", "person", "stage", "reason", "detail"))
    return Set(
        pa.concat_tables(tables).to_pylist(maps_as_pydicts="strict"),
        rejects.to_pylist(),
        json.loads((destination / INDEX).read_bytes()),
        json.loads((destination / TIMES).read_bytes()),
    )


def _figures(folder: Path, found: Set) -> list[tuple[str, str]]:
    """Draw the distributions; file name and caption of each."""
    photos, counts = found.photos, [len(keys) for keys in found.persons.values()]
    ages = [float(age) for photo in photos if (age := photo["attributes"].get("age"))]
    genders = Counter(photo["attributes"].get("gender") or "not given" for photo in photos)
    drawn: list[tuple[str, str]] = []

    def place(name: str, caption: str) -> Path:
        drawn.append((f"{FOLDER}/{name}.png", caption))
        return folder / f"{name}.png"

    histogram(
        place("photos_per_person", "Photos per person"), counts, _edges(counts), "photos per person", True
    )
    shares = [100 * photo["face_share"] for photo in photos]
    histogram(
        place("face_share", "Share of the picture that the face's box takes"),
        shares,
        range(0, 62, 2),
        "per cent",
    )
    yaws = [photo["yaw"] for photo in photos]
    histogram(
        place("yaw", "Turn of the head"), yaws, range(-90, 95, 5), "yaw in degrees, > 0 to the image's right"
    )
    expressions, origin = _expressions(photos)
    bars(place("expression", f"Expression, from {origin}"), expressions, "")
    if ages:
        histogram(place("age", "Age, as the table of attributes guesses it"), ages, range(0, 95, 5), "years")
    if set(genders) != {"not given"}:
        bars(
            place("gender", "Gender, as the table of attributes guesses it"), dict(genders.most_common()), ""
        )
    qualities = [photo["quality"] for photo in photos]
    histogram(place("quality", "Face quality"), qualities, np.linspace(0, 1, 41).tolist(), "quality")
    alike = [photo["similarity"] for photo in photos if photo["similarity"] is not None]
    histogram(
        place("similarity", "Similarity to the person's centre"),
        alike,
        np.linspace(0, 1, 41).tolist(),
        "similarity",
    )
    return drawn


def _edges(counts: Sequence[int]) -> list[float]:
    top = max(counts) + 1
    return [float(edge) for edge in np.unique(np.linspace(1, top, min(top, 60)).round())] + [float(top + 1)]


def _expressions(photos: Sequence[Mapping[str, Any]]) -> tuple[dict[str, int], str]:
    """Expression -> photos, and where it is from: two sources are never mixed."""
    named = [emotion_of(photo["attributes"]) for photo in photos]
    origin = "the table of attributes"
    if not any(named):
        named = [traits_of({}, photo["measures"], None).mood for photo in photos]
        origin = "the 3D face, which tells smiles only"
    return dict(Counter(name or "not said" for name in named).most_common()), origin


def _sheets(folder: Path, found: Set, parts: Path) -> list[tuple[str, str]]:
    """Draw the contact sheets; file name and caption of each."""
    wanted: dict[str, list[str]] = defaultdict(list)
    by_reason: dict[str, list[str]] = defaultdict(list)
    for row in found.rejects:
        by_reason[row["reason"]].append(row["source_key"])
    for reason, keys in by_reason.items():
        wanted[reason] = keys[:: max(1, len(keys) // SHOWN)][:SHOWN]
    pictures = _pictures(parts, {key for keys in wanted.values() for key in keys})
    drawn: list[tuple[str, str]] = []
    for reason in REASONS:
        shown = [pictures[key] for key in wanted.get(reason, ()) if key in pictures]
        if shown:
            contact_sheet(folder / f"rejects_{reason}.png", shown)
            drawn.append(
                (f"{FOLDER}/rejects_{reason}.png", f"{reason}: {len(shown)} of {len(by_reason[reason])}")
            )
    return drawn


def _pictures(parts: Path, keys: set[str]) -> dict[str, bytes]:
    """Key -> thumbnail or picture, of the photos wanted."""
    found: dict[str, bytes] = {}
    for file in sorted(parts.glob("photos-*/part-*.parquet")):
        names = read_columns(file, ("source_key",))["source_key"].to_pylist()
        rows = [row for row, name in enumerate(names) if name in keys]
        if not rows:
            continue
        for row in (
            read_columns(file, ("source_key", "thumbnail", "picture")).take(pa.array(rows)).to_pylist()
        ):
            if content := row["thumbnail"] or row["picture"]:
                found[row["source_key"]] = content
    return found


def _page(
    found: Set,
    settings: CurateSettings,
    figures: Sequence[tuple[str, str]],
    sheets: Sequence[tuple[str, str]],
) -> str:
    reasons = Counter(row["reason"] for row in found.rejects)
    rejected = [[REASONS[reason], reason, f"{reasons[reason]:,}"] for reason in REASONS if reasons[reason]]
    said = [
        [photo["key"], " | ".join(photo["captions"][:2])]
        for photo in found.photos[:: max(1, len(found.photos) // 12)]
    ]
    times = [
        [name, f"{one['count']:,.0f}", _rate(one)] for name, one in found.times.items() if one["seconds"]
    ]
    counted = [[name, f"{one['count']:,.0f}", "-"] for name, one in found.times.items() if not one["seconds"]]
    body = [
        "<h1>Photos of persons: what is in the set</h1>",
        _table(["", "this set", "the paper's"], _numbers(found, settings)),
        _images(figures),
        "<p>Race is left out on purpose: it cannot be read off a face, and a guess about it helps nobody.</p>",
        "<h2>What was left out</h2>",
        _table(["stage", "reason", "photos"], rejected),
        _images(sheets),
        "<h2>Captions</h2>",
        _table(["key", "captions"], said),
        "<h2>Work</h2>",
        _table(["stage", "photos", "per second and core"], times + counted),
        f"<pre>{escape(json.dumps(asdict(settings), indent=1))}</pre>",
    ]
    return (
        f"<!doctype html><meta charset=utf-8><title>Data set</title><style>{_STYLE}</style>{''.join(body)}\n"
    )


def _numbers(found: Set, settings: CurateSettings) -> list[list[str]]:
    sides = [photo["square"][2] for photo in found.photos]
    per_person = len(found.photos) / max(1, len(found.persons))
    return [
        ["persons", f"{len(found.persons):,}", PAPER["persons"]],
        ["photos", f"{len(found.photos):,}", PAPER["photos"]],
        ["photos per person", f"{per_person:.1f}", "about 20"],
        ["size of the pictures", f"{settings.photos.size} x {settings.photos.size}", PAPER["size"]],
        ["side of the squares in the photos, median", f"{np.median(sides):.0f} px", "at least 256 px"],
        ["photos left out", f"{len(found.rejects):,}", "not said"],
    ]


def _rate(one: Mapping[str, float]) -> str:
    return f"{one['count'] / one['seconds']:,.1f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["".join(f"<th>{escape(cell)}</th>" for cell in head)]
    lines += ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows]
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _images(files: Sequence[tuple[str, str]]) -> str:
    return "".join(
        f'<figure><img src="{escape(name)}"><figcaption>{escape(caption)}</figcaption></figure>'
        for name, caption in files
    )
