"""Photos -> a benchmark: which persons, who poses for whom."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from diffpc.errors import InputError, UsageError
from diffpc.evaluate.manifest import Manifest, Person, PhotoFile, write_manifest
from diffpc.evaluate.options import Plan
from diffpc.evaluate.prompts import number_of, prompts_for
from diffpc.weights import sha256

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
"""Of photos, in small letters."""

Usable = Callable[[Path], bool]
"""Whether a photo shows one face that stands out."""


@dataclass(frozen=True)
class Candidate:
    """A person and the photos there are, in order."""

    person: str
    photos: tuple[Path, ...]


def folder_of_persons(photos: Path) -> tuple[Candidate, ...]:
    """PERSON/PHOTO.jpg, as in ID-centric-200.

    Raises:
        InputError: if there is no such folder, or nobody in it.
    """
    return _some(photos, (Candidate(one.name, _photos(one)) for one in _entries(photos) if one.is_dir()))


def folder_of_photos(photos: Path) -> tuple[Candidate, ...]:
    """One photo per person, as in FFHQ-150.

    Raises:
        InputError: as `folder_of_persons`.
    """
    return _some(photos, (Candidate(photo.stem, (photo,)) for photo in _photos(photos)))


def listed_pages(photos: Path, addresses: Path) -> tuple[Candidate, ...]:
    """Unsplash-50: photos that the user fetched from the pages of the public list.

    A page's address ends in the photo's eleven-character name, and so does a downloaded file's name, but for
    "-unsplash" behind it.

    Raises:
        InputError: if the list cannot be read, or none of its photos is there.
    """
    try:
        lines = addresses.read_text(encoding="utf-8").split()
    except (OSError, ValueError) as error:
        raise InputError(
            f"{addresses}: cannot be read ({error}); give a text of one address per line"
        ) from error
    names = [match[1] for line in lines if (match := re.search(r"([\w-]{11})/?$", line))]
    found = {name: [photo for photo in _photos(photos) if name in photo.stem] for name in names}
    return _some(photos, (Candidate(name, (files[0],)) for name, files in found.items() if files))


def official_split(photos: Path, people: Path) -> tuple[Candidate, ...]:
    """The persons of a split of Labeled Faces in the Wild, for instance peopleDevTest.txt.

    Raises:
        InputError: if the list cannot be read, or nobody in it has a photo.
    """
    try:
        lines = people.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"{people}: cannot be read ({error}); give an official people list") from error
    names = [line.split("\t")[0] for line in lines if "\t" in line]
    return _some(photos, (Candidate(name, _photos(photos / name)) for name in names if _plain(name)))


def build(
    candidates: Sequence[Candidate], root: Path, plan: Plan, usable: Usable, output: Path, source: str
) -> Manifest:
    """Choose persons and targets, and write the benchmark.

    Persons with two photos come first, as far as there are enough: the copy score needs the second. Targets are
    other persons' photos.

    Args:
        candidates: from one of the builders.
        root: folder that the manifest's paths start from.
        plan: how large.
        usable: says whether a photo can be used.
        output: the manifest to write; its name is the benchmark's.
        source: what the photos are.

    Raises:
        UsageError: for a plan out of range.
        InputError: if there are not enough persons.
    """
    if min(plan.persons, plan.targets, plan.seeds) < 1:
        raise UsageError(
            f"{plan.persons} persons, {plan.targets} targets, {plan.seeds} seeds: give at least 1"
        )
    ordered = sorted(candidates, key=lambda one: (len(one.photos) < 2, number_of(plan.seed, one.person)))
    known: dict[Path, bool] = {}

    def works(photo: Path) -> bool:
        if photo not in known:
            known[photo] = usable(photo)
        return known[photo]

    drawn: list[tuple[Candidate, list[Path]]] = []
    for one in ordered:
        if len(drawn) == plan.persons:
            break
        if good := [photo for photo in one.photos[:4] if works(photo)][:2]:
            drawn.append((one, good))
    if len(drawn) < plan.persons:
        raise InputError(
            f"{root}: {len(drawn)} persons have a usable photo; ask for at most so many, not {plan.persons}"
        )
    people = tuple(_person(one, good, ordered, root, plan, works) for one, good in drawn)
    return write_manifest(output, output.stem, source, people)


def _person(
    one: Candidate, good: Sequence[Path], ordered: Sequence[Candidate], root: Path, plan: Plan, works: Usable
) -> Person:
    others = sorted(
        (other for other in ordered if other is not one),
        key=lambda other: number_of(plan.seed, f"{one.person}/{other.person}"),
    )
    targets: list[Path] = []
    for other in others:
        if len(targets) == plan.targets:
            break
        photo = other.photos[number_of(plan.seed, f"{one.person}/{other.person}/photo") % len(other.photos)]
        if works(photo):
            targets.append(photo)
    if len(targets) < plan.targets:
        raise InputError(f"{root}: only {len(targets)} usable photos of others for {one.person}; add photos")
    return Person(
        person=one.person,
        reference=_file(good[0], root),
        targets=tuple(_file(photo, root) for photo in targets),
        prompts=prompts_for(one.person, plan.prompts, plan.words, plan.seed),
        seeds=tuple(range(plan.seeds)),
        other=_file(good[1], root) if len(good) > 1 else None,
    )


def _file(photo: Path, root: Path) -> PhotoFile:
    return PhotoFile(photo.relative_to(root).as_posix(), sha256(photo))


def _plain(name: str) -> bool:
    return Path(name).name == name and name not in ("", ".", "..")


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _photos(folder: Path) -> tuple[Path, ...]:
    return tuple(path for path in _entries(folder) if path.suffix.lower() in SUFFIXES and path.is_file())


def _some(photos: Path, candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    found = tuple(one for one in candidates if one.photos)
    if not found:
        raise InputError(f"{photos}: holds no photo of these persons; check the folder and the list")
    return found
