"""A whole curation, from a source to a set with its report; run again, it goes on where it stopped."""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

import pyarrow as pa

from diffpc.curate.caption import CaptionPart
from diffpc.curate.choose import Candidates, Choice, choose, read_candidates, threshold_for
from diffpc.curate.engine import Engine, load_engine
from diffpc.curate.parts import Told, read_columns, write_table
from diffpc.curate.progress import make_all
from diffpc.curate.record import REASONS, Listed
from diffpc.curate.rows import REJECT_FIELDS
from diffpc.curate.settings import CaptionSettings, CurateSettings, EngineSettings
from diffpc.curate.shards import Entry, Shard, cut_shards, persons_of
from diffpc.curate.sources import downloaded, is_table, list_photos, read_links
from diffpc.curate.worker import PhotoPart, tools_for
from diffpc.errors import InputError, UsageError
from diffpc.files import atomic_write
from diffpc.photos import INDEX
from diffpc.types import Say

SET, REJECTS, TIMES = "dataset.json", "rejects.parquet", "times.json"
"""What the set is and of which settings; the photos left out; how long the stages took."""

WORK = ".work"
"""Below the destination: the parts. May be removed once the set is complete."""

_FORMAT = 1
"""Counts up when the same photos and settings give another set than before."""


@dataclass(frozen=True)
class Places:
    """Where things are."""

    source: Path
    destination: Path
    attributes: Path | None = None
    """A table of attributes of the source's photos."""
    parts: Path | None = None
    """Where the parts are; None is below the destination. Sets of one source can share them."""

    @property
    def work(self) -> Path:
        """Where the parts are."""
        return self.parts or self.destination / WORK


@dataclass(frozen=True)
class Outcome:
    """What became of it."""

    photos: int
    """In the set."""
    persons: int
    rejects: Mapping[str, int]
    """Reason -> photos."""
    shards: int


@dataclass(frozen=True)
class _Photos:
    """The photos of a source."""

    listed: Sequence[Listed]
    lost: Sequence[Mapping[str, Any]]
    """Rows of REJECT_FIELDS for what could not be downloaded."""


def curate(places: Places, settings: CurateSettings, engine: EngineSettings, report: Say) -> Outcome:
    """Make the set, or complete it.

    Raises:
        UsageError: if the destination holds a set of other settings, or is being worked on.
        InputError: if the source cannot be read, no photo is left, or the destination cannot be written.
    """
    with _locked(places.work):
        photos = _photos(places, settings, report)
        digest = _digest(photos, settings)
        if (found := _complete(places.destination, digest)) is not None:
            report(f"{places.destination}: is complete")
            return found
        tools_for(settings.photos)  # a wrong name or a missing file shows before Ray starts
        with load_engine(engine) as makers:
            return _made(places, photos, settings, makers, report, digest)


def _made(
    places: Places, photos: _Photos, settings: CurateSettings, engine: Engine, report: Say, digest: str
) -> Outcome:
    parts = _photo_parts(places.work, photos.listed, settings)
    times = make_all("photos", parts, engine, report)
    files = [part.file for part in parts]
    candidates = read_candidates(files)
    embedder = tools_for(settings.photos).embedder
    threshold = threshold_for(embedder.name, settings.persons)
    choice = choose(candidates, embedder.metric.kind, threshold, settings.persons)
    if not choice.rows:
        raise InputError(
            f"{places.source}: none of {len(photos.listed)} photos is left ({_reasons(times, choice)}); "
            "lower the thresholds or give more photos per person"
        )
    described = _captioned(places.work, candidates, choice, files, settings.captions)
    times += make_all("captions", described.parts, engine, report)
    shards = cut_shards(described.entries, places.destination, settings.photos.size, settings.shards.photos)
    times += make_all("shards", shards, engine, report)
    rejects = _write_rejects(places.destination, photos, files, candidates, choice)
    return _finished(places.destination, shards, rejects, times, digest)


@dataclass(frozen=True)
class _Captioned:
    parts: Sequence[CaptionPart]
    """In the order of the photos' parts."""
    entries: Sequence[Entry]
    """In the order of the set."""


def _photos(places: Places, settings: CurateSettings, report: Say) -> _Photos:
    if not is_table(places.source):
        return _Photos(list_photos(places.source, places.attributes), ())
    if places.attributes:
        raise UsageError(f"{places.source}: a table of addresses takes no table of attributes; leave it out")
    from diffpc.curate.download import download

    links = read_links(places.source)
    fetched = download(links, places.work / "downloads", settings.download, report)
    lost = [
        {
            "source_key": link.key,
            "person": link.person,
            "url": link.url,
            **_why("not_downloaded", fetched.faults[link.key]),
        }
        for link in links
        if link.key in fetched.faults
    ]
    listed = downloaded(links, fetched.files)
    if not listed:
        raise InputError(
            f"{places.source}: none of {len(links)} photos could be downloaded ({lost[0]['detail']})"
        )
    return _Photos(listed, lost)


def _photo_parts(work: Path, photos: Sequence[Listed], settings: CurateSettings) -> list[PhotoPart]:
    size = settings.photos.part
    folder = work / f"photos-{_hash([_identity(photo) for photo in photos], asdict(settings.photos))}"
    return [
        PhotoPart(folder / f"part-{number:06d}.parquet", tuple(photos[start : start + size]), settings.photos)
        for number, start in enumerate(range(0, len(photos), size))
    ]


def _captioned(
    work: Path, candidates: Candidates, choice: Choice, files: Sequence[Path], settings: CaptionSettings
) -> _Captioned:
    """The caption parts of the chosen photos, and where each photo of the set lies."""
    rows: dict[int, list[int]] = defaultdict(list)
    for number, row in sorted(candidates.places[one] for one in choice.rows):
        rows[number].append(row)
    folder = work / f"captions-{_hash(files[0].parent.name, asdict(settings), sorted(rows.items()))}"
    parts = {
        number: CaptionPart(folder / files[number].name, files[number], tuple(found), settings, work)
        for number, found in rows.items()
    }
    order = {(number, row): place for number, found in rows.items() for place, row in enumerate(found)}
    entries = [
        Entry(files[place[0]], place[1], parts[place[0]].file, order[place], float(choice.similarity[row]))
        for row in choice.rows
        for place in [candidates.places[row]]
    ]
    return _Captioned(list(parts.values()), entries)


def _write_rejects(
    destination: Path, photos: _Photos, files: Sequence[Path], candidates: Candidates, choice: Choice
) -> Counter[str]:
    """rejects.parquet: every photo that is not in the set, once."""
    rows = list(photos.lost)
    for file in files:
        table = read_columns(file, REJECT_FIELDS.names)
        rows += table.filter(table["reason"].is_valid()).to_pylist()
    rows += [
        {
            "source_key": candidates.keys[one.row],
            "person": candidates.persons[one.row],
            "url": candidates.urls[one.row],
            **_why(one.reason, one.detail),
        }
        for one in choice.left_out
    ]
    rows.sort(key=itemgetter("source_key"))
    write_table(destination / REJECTS, pa.Table.from_pylist(rows, REJECT_FIELDS))
    return Counter(row["reason"] for row in rows)


def _finished(
    destination: Path, shards: Sequence[Shard], rejects: Counter[str], times: Sequence[Told], digest: str
) -> Outcome:
    persons = persons_of(shards)
    count = sum(len(keys) for keys in persons.values())
    outcome = Outcome(count, len(persons), dict(sorted(rejects.items())), len(shards))
    _write_json(destination / INDEX, persons)
    _write_json(destination / TIMES, _times(times))
    _write_json(destination / SET, {"digest": digest, **asdict(outcome)})
    return outcome


def _times(told: Sequence[Told]) -> dict[str, dict[str, float]]:
    """Stage -> photos and processor seconds; and what a captioner counted."""
    seconds = sum((Counter(one.seconds) for one in told), Counter[str]())
    seen = sum((Counter(one.seen) for one in told), Counter[str]())
    return {name: {"count": float(seen[name]), "seconds": round(float(seconds[name]), 3)} for name in seen}


def _complete(destination: Path, digest: str) -> Outcome | None:
    """The outcome, if the set is there already; None if it is still to make.

    Raises:
        UsageError: if another set is there, or a part of one.
    """
    file = destination / SET
    try:
        found: dict[str, Any] = json.loads(file.read_bytes()) if file.exists() else {"digest": None}
        known = found.pop("digest")
        if known == digest:
            return Outcome(**found) if found else None
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(f"{file}: is damaged ({error}); remove it and run again") from error
    if any(destination.glob("[0-9]" * 5 + ".tar")):
        raise UsageError(f"{destination}: holds a set of other photos or settings; choose another folder")
    _write_json(file, {"digest": digest})
    return None


def _reasons(times: Sequence[Told], choice: Choice) -> str:
    counts = sum((Counter(told.rejects) for told in times), Counter(one.reason for one in choice.left_out))
    return ", ".join(f"{reason} {count}" for reason, count in counts.most_common())


def _why(reason: str, detail: str) -> dict[str, str]:
    return {"stage": REASONS[reason], "reason": reason, "detail": detail}


def _digest(photos: _Photos, settings: CurateSettings) -> str:
    """Of all that the set depends on."""
    rules = {name: value for name, value in asdict(settings).items() if name != "download"}
    threshold = threshold_for(settings.photos.embedder, settings.persons)
    known = [_identity(photo) for photo in photos.listed]
    return _hash(known, [dict(row) for row in photos.lost], rules, threshold)


def _identity(photo: Listed) -> dict[str, Any]:
    """What a photo is known by: not where it lies."""
    return {name: value for name, value in asdict(photo).items() if name not in ("file", "offset")}


def _hash(*values: Any) -> str:
    text = json.dumps([_FORMAT, *values], sort_keys=True, default=dict)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _write_json(file: Path, value: Any) -> None:
    with atomic_write(file) as stream:
        stream.write((json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())


@contextmanager
def _locked(work: Path) -> Generator[None]:
    """Two commands must not make one set: the lock goes with the process, however it ends."""
    try:
        work.mkdir(parents=True, exist_ok=True)
        stream = (work / "lock").open("w")
    except OSError as error:
        raise InputError(f"{work}: cannot be written ({error.strerror}); choose another folder") from error
    with stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UsageError(f"{work}: another command is at work there; wait for it or stop it") from error
        yield
