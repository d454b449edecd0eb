"""Photos and whose they are: a folder per person, or shards in img2dataset's layout. No photo is decoded here."""

from __future__ import annotations

import csv
import json
import re
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias, cast

from diffpc.errors import InputError, UsageError
from diffpc.types import Say

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
"""Of photos, in small letters."""

INDEX = "index.json"
"""Beside shards: person -> keys. Not needed; if it is there, it must agree with them."""

_SHARD = re.compile(r"\d{5}\.tar")
_MEMBER = re.compile(r"(\d{9})(\.[a-z]+)")
"""Shard in five digits, index in four."""

_SIDES = re.compile(r"\b(left|right)\b")
_OTHER = {"left": "right", "right": "left"}

_BLOCK = bytes(tarfile.BLOCKSIZE)
_REMEDY = "copy or write it again, or skip damaged shards"
_FIELDS = ("photo", "caption")

_Span: TypeAlias = tuple[int, int]
"""Offset and size of a member's content in its tar, bytes."""


@dataclass(frozen=True)
class Photo:
    """One photo of a person; its bytes stay where they are until they are read."""

    key: str
    """Unique in its source: "person/file.jpg" of a folder, nine digits of a shard."""
    person: str
    captions: tuple[str, ...]
    """Empty where there is none: the empty prompt."""
    file: Path
    """The photo itself, or the tar that holds it."""
    size: int
    """Bytes."""
    offset: int = 0
    """Of the photo's first byte in the file."""
    mirrored: bool = False
    """Whether left and right are to be exchanged."""

    @property
    def source(self) -> tuple[Path, int]:
        """What a photo and its mirror image have in common."""
        return self.file, self.offset

    def mirror(self) -> Photo:
        """The photo's mirror image, with a key of its own; its captions say right for left."""
        captions = tuple(_SIDES.sub(lambda found: _OTHER[found[0]], caption) for caption in self.captions)
        return replace(self, key=f"{self.key} mirrored", captions=captions, mirrored=not self.mirrored)

    def read(self) -> bytes:
        """The content of the image file.

        Raises:
            InputError: if the file is gone, unreadable or shorter than when it was listed.
        """
        try:
            with self.file.open("rb") as stream:
                stream.seek(self.offset)
                content = stream.read(self.size)
        except OSError as error:
            raise InputError(
                f"{self.file}: cannot be read ({error.strerror or error}); check that it is still there"
            ) from error
        if len(content) < self.size:
            raise InputError(f"{self.file}: was cut short after it was listed; copy it again")
        return content


@dataclass(frozen=True)
class Reading:
    """What `read_photos` was asked for."""

    captions: Path | None
    skip_damaged: bool
    report: Say


@dataclass(frozen=True)
class Source:
    """A way in which photos lie in a folder."""

    entries: Callable[[Path], list[Path]]
    """What in the folder belongs to such a source; nothing if it is none."""
    read: Callable[[Path, list[Path], Reading], list[Photo]]
    """The photos of the folder and these entries of it."""


def read_photos(
    path: Path | str,
    captions: Path | str | None = None,
    skip_damaged: bool = False,
    report: Say = lambda _: None,
) -> list[Photo]:
    """List the photos of a folder, in an order that depends on names alone; no photo is decoded.

    Args:
        path: holds either one folder per person with photos in it, or shards (plain tar files) named
            00000.tar, 00001.tar ... with members KEY.jpg, KEY.json ("person", "caption") and KEY.txt.
        captions: for folders of persons only: .csv with the columns photo and caption, or .jsonl with these
            keys; "photo" is relative to `path`, several rows or a list give a photo several captions.
        skip_damaged: pass over damaged shards with a message instead of refusing them.
        report: takes messages about what was left out.

    Raises:
        UsageError: if there is a captions file beside shards, or it is of an unknown type.
        InputError: if the folder holds neither or both, or what it holds is damaged.
    """
    path = Path(path)
    reading = Reading(Path(captions) if captions is not None else None, skip_damaged, report)
    found = {name: entries for name, source in SOURCES.items() if (entries := source.entries(path))}
    if len(found) != 1:
        what = "both shards and persons' folders" if found else "neither shards nor persons' folders"
        raise InputError(
            f"{path}: holds {what}; give a folder of PERSON/PHOTO.jpg or a folder of shards 00000.tar, 00001.tar ..."
        )
    ((name, entries),) = found.items()
    photos = SOURCES[name].read(path, entries, reading)
    _report_first("without a caption: the empty prompt stands for it", _silent(photos), report)
    return photos


def paired(photos: list[Photo]) -> tuple[list[Photo], list[str]]:
    """Photos whose person has at least two, mirror images apart; in the same order, with messages on the others.

    Raises:
        InputError: if there is no such person.
    """
    counts = Counter(person for person, _ in {(photo.person, photo.source) for photo in photos})
    kept = [photo for photo in photos if counts[photo.person] > 1]
    single = sum(count == 1 for count in counts.values())
    if not kept:
        raise InputError(
            f"none of {len(counts)} persons has two usable photos; add photos, or train without same-person pairs"
        )
    plural = "person" if single == 1 else "persons"
    return kept, [f"{single} {plural} with a single photo left out"] if single else []


def _silent(photos: list[Photo]) -> list[str]:
    return [photo.key for photo in photos if not photo.captions]


def _report_first(what: str, keys: list[str], report: Say) -> None:
    if keys:
        report(f"{len(keys)} photo{'s' * (len(keys) > 1)} {what} (first: {keys[0]})")


def _persons(root: Path) -> list[Path]:
    """Folders with photos in them."""
    folders = sorted(entry for entry in _entries(root) if entry.is_dir() and not entry.name.startswith("."))
    return [folder for folder in folders if any(map(_is_photo, folder.iterdir()))]


def _is_photo(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()


def _shards(root: Path) -> list[Path]:
    return sorted(entry for entry in _entries(root) if _SHARD.fullmatch(entry.name) and entry.is_file())


def _entries(root: Path) -> Iterator[Path]:
    try:
        yield from root.iterdir()
    except OSError as error:
        raise InputError(
            f"{root}: cannot be listed ({error.strerror or error}); give a folder of photos"
        ) from error


def _read_folders(root: Path, folders: list[Path], reading: Reading) -> list[Photo]:
    photos = [
        Photo(f"{folder.name}/{file.name}", folder.name, (), file, file.stat().st_size)
        for folder in folders
        for file in sorted(filter(_is_photo, folder.iterdir()))
    ]
    if reading.captions is None:
        return photos
    captions = _read_captions(reading.captions)
    strangers = sorted(set(captions) - {photo.key for photo in photos})
    if len(strangers) == len(captions):
        first = f"its first is {strangers[0]!r}" if strangers else "it is empty"
        raise InputError(
            f"{reading.captions}: names no photo of {root} ({first}); write paths like {photos[0].key!r}"
        )
    _report_first("with a caption but not there", strangers, reading.report)
    return [replace(photo, captions=tuple(captions.get(photo.key, ()))) for photo in photos]


def _read_captions(file: Path) -> dict[str, list[str]]:
    """Photo -> its captions."""
    rows_of = CAPTION_FILES.get(file.suffix.lower())
    if rows_of is None:
        raise UsageError(f"{file}: is no captions file; give one that ends in {' or '.join(CAPTION_FILES)}")
    captions: dict[str, list[str]] = {}
    try:
        for number, row in enumerate(rows_of(file), start=1):
            key, texts = _caption_row(row, f"{file}: row {number}")
            captions.setdefault(key, []).extend(texts)
    except (OSError, ValueError, csv.Error, RecursionError) as error:
        raise InputError(f"{file}: cannot be read as {file.suffix} ({error}); write it again") from error
    return captions


def _csv_rows(file: Path) -> Iterator[dict[Any, Any]]:
    with file.open(encoding="utf-8-sig", newline="") as stream:
        yield from csv.DictReader(stream, strict=True)


def _json_rows(file: Path) -> Iterator[Any]:
    with file.open(encoding="utf-8-sig") as stream:
        yield from (json.loads(line) for line in stream if line.strip())


def _caption_row(row: Any, place: str) -> tuple[str, tuple[str, ...]]:
    names: list[Any] = list(row) if isinstance(row, dict) else []
    unknown = [name for name in names if name not in _FIELDS]
    if unknown or len(names) < len(_FIELDS):
        fault = f"has the unknown column {unknown[0]!r}" if unknown else "lacks a column"
        raise InputError(f"{place} {fault}; the columns are: {', '.join(_FIELDS)}")
    if not isinstance(row["photo"], str) or not row["photo"]:
        raise InputError(f"{place} names no photo; give its path below the folder of photos")
    return PurePosixPath(row["photo"]).as_posix(), _texts(row["caption"], place)


def _texts(value: Any, place: str) -> tuple[str, ...]:
    """A caption, a list of them or nothing -> those that say something."""
    values = cast(list[Any], value) if isinstance(value, list) else [value]
    texts = [text or "" for text in values]
    if not all(isinstance(text, str) for text in texts):
        raise InputError(f"{place} has the caption {value!r}; give a text or a list of texts")
    return tuple(text.strip() for text in texts if text.strip())


def _read_shards(root: Path, shards: list[Path], reading: Reading) -> list[Photo]:
    if reading.captions is not None:
        raise UsageError(f"{root}: shards hold their captions; leave out {reading.captions}")
    photos: dict[str, Photo] = {}
    for shard in shards:
        try:
            found = _read_shard(shard)
        except InputError as error:
            if not reading.skip_damaged:
                raise
            reading.report(f"shard left out: {error}")
            continue
        for photo in found:
            if photo.key in photos:
                raise InputError(
                    f"{shard}: repeats the key {photo.key} of {photos[photo.key].file.name}; number shards anew"
                )
            photos[photo.key] = photo
    if not photos:
        raise InputError(f"{root}: has no usable shard; write the shards again")
    if (root / INDEX).is_file():
        _check_index(root / INDEX, list(photos.values()), reading)
    return list(photos.values())


def _read_shard(shard: Path) -> list[Photo]:
    """The photos of one shard, in the order of their keys."""
    try:
        samples = _samples(shard)
        with shard.open("rb") as stream:

            def content(span: _Span) -> bytes:
                stream.seek(span[0])
                return stream.read(span[1])

            return [_sample(shard, key, members, content) for key, members in sorted(samples.items())]
    except (tarfile.TarError, OSError, ValueError, EOFError, RecursionError) as error:
        raise InputError(f"{shard}: is no whole, uncompressed tar ({error}); {_REMEDY}") from error


def _samples(shard: Path) -> dict[str, dict[str, _Span]]:
    """Key -> suffix -> where the member's content is."""
    samples: dict[str, dict[str, _Span]] = {}
    with tarfile.open(shard, "r:") as tar:
        for member in tar:
            name = _MEMBER.fullmatch(PurePosixPath(member.name).name)
            if name and member.isreg():
                samples.setdefault(name[1], {})[name[2]] = (member.offset_data, member.size)
        end = tar.offset
    with shard.open("rb") as stream:  # tarfile takes a damaged header, or none, for the end
        stream.seek(end)
        if stream.read(len(_BLOCK)) != _BLOCK:
            raise ValueError(f"no header and no end at byte {end}")
    return samples


def _sample(shard: Path, key: str, members: dict[str, _Span], content: Callable[[_Span], bytes]) -> Photo:
    image = next((members[suffix] for suffix in SUFFIXES if suffix in members), None)
    if image is None or ".json" not in members:
        raise InputError(f"{shard}: {key} lacks its {'json' if image else 'photo'}; {_REMEDY}")
    values = json.loads(content(members[".json"]))
    person = values.get("person") if isinstance(values, dict) else None
    if not isinstance(person, str | int) or person == "":
        raise InputError(f"{shard}: the json of {key} names no person; {_REMEDY}")
    captions = _texts(values.get("caption"), f"{shard}: {key}")
    if not captions and ".txt" in members:
        captions = _texts(content(members[".txt"]).decode(), f"{shard}: {key}")
    return Photo(key, str(person), captions, shard, size=image[1], offset=image[0])


def _check_index(file: Path, photos: list[Photo], reading: Reading) -> None:
    """Compare person -> keys with what the shards say; only a message where shards may have been left out."""
    persons: dict[str, list[str]] = {}
    for photo in photos:
        persons.setdefault(photo.person, []).append(photo.key)
    try:
        index = {person: sorted(keys) for person, keys in json.loads(file.read_bytes()).items()}
        persons = {person: sorted(keys) for person, keys in persons.items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise InputError(f"{file}: is no index of persons ({error}); write it again or remove it") from error
    differing = [name for name in {**persons, **index} if persons.get(name) != index.get(name)]
    if not differing:
        return
    message = f"{file}: disagrees with the shards about {len(differing)} persons (first: {differing[0]})"
    if not reading.skip_damaged:
        raise InputError(f"{message}; write it again or remove it")
    reading.report(f"{message}; the shards count")


CAPTION_FILES: dict[str, Callable[[Path], Iterator[Any]]] = {".csv": _csv_rows, ".jsonl": _json_rows}
"""Suffix -> reader of rows."""

SOURCES: dict[str, Source] = {
    "shards": Source(_shards, _read_shards),
    "folders": Source(_persons, _read_folders),
}
