"""The first step: a system draws the benchmark's portraits into a folder; the same call goes on after a stop."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

from diffpc.errors import UsageError
from diffpc.evaluate.manifest import Case, Manifest, checked_photo
from diffpc.images import write_png
from diffpc.records import append_line, read_json, read_lines, write_json
from diffpc.types import Image, Say

SYSTEM = "system.json"
"""What drew the pictures, and for which benchmark."""

LOG = "log.jsonl"
"""One line per portrait: seconds, memory, or why there is none."""


@dataclass(frozen=True)
class Photos:
    """Where the photos of one person's cases lie."""

    reference: Path
    targets: tuple[Path, ...]


@dataclass(frozen=True)
class Drawn:
    """What came of one case."""

    case: Case
    image: Image | None
    """None where the system drew nothing."""
    seconds: Mapping[str, float]
    """Wall time per stage; what is done once per person counts on its first portrait."""
    error: str | None = None
    """Why there is no image."""
    metadata: Mapping[str, str] | None = None
    """Texts for the PNG."""


@runtime_checkable
class System(Protocol):
    """Something that draws portraits of persons."""

    def describe(self) -> dict[str, Any]:
        """Name, settings and hashes of weights, JSON values: if they change, the pictures do."""
        ...

    def draw(self, cases: Sequence[Case], photos: Photos) -> Iterator[Drawn]:
        """Draw these portraits of one person, in their order."""
        ...


@dataclass(frozen=True)
class Progress:
    """How far a folder is."""

    drawn: int
    failed: int
    total: int


@dataclass(frozen=True)
class Part:
    """Which persons one of several processes draws; they may share a folder."""

    number: int = 1
    """From 1."""
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Part:
        """From "2/4": the second of four.

        Raises:
            UsageError: for anything else.
        """
        number, slash, count = text.partition("/")
        if not slash or not number.isdecimal() or not count.isdecimal() or not 1 <= int(number) <= int(count):
            raise UsageError(
                f"{text!r} is no part; give NUMBER/COUNT, for instance 1/2 to one process, 2/2 to another"
            )
        return cls(int(number), int(count))


def draw(
    manifest: Manifest, photos: Path, system: System, folder: Path, say: Say, part: Part | None = None
) -> Progress:
    """Draw what is not drawn yet.

    Args:
        manifest: the benchmark.
        photos: folder of its photos.
        system: who draws.
        folder: gets system.json, log.jsonl and PERSON/t0-p0-s0.png ...
        say: takes news.
        part: which persons; None: all.

    Raises:
        UsageError: if the folder is another benchmark's or another system's.
        InputError: if a photo is missing or changed.
    """
    claim(folder, manifest, system.describe())
    failed = {line["name"] for line in read_lines(folder / LOG) if line.get("error")}
    warm = False
    part = part or Part()
    people = manifest.people[part.number - 1 :: part.count]
    for number, person in enumerate(people, 1):
        left = [one for one in person.cases() if not (folder / one.name).is_file() and one.name not in failed]
        if not left:
            continue
        targets = tuple(checked_photo(photos, target) for target in person.targets)
        for drawn in system.draw(left, Photos(checked_photo(photos, person.reference), targets)):
            _keep(folder, drawn, warm)
            failed |= {drawn.case.name} if drawn.error else set()
            warm = True
        say(f"{number} of {len(people)} persons drawn")
    cases = manifest.cases()
    return Progress(sum((folder / one.name).is_file() for one in cases), len(failed), len(cases))


def claim(folder: Path, manifest: Manifest, system: Mapping[str, Any]) -> None:
    """Note in a folder whose pictures it holds.

    Raises:
        UsageError: if it holds others.
    """
    mine = {"benchmark": manifest.name, "manifest": manifest.digest, "system": dict(system)}
    path = folder / SYSTEM
    if not path.exists():
        write_json(path, mine)
        return
    found = read_json(path, "choose another folder")
    for name, value in mine.items():
        if found.get(name) != value:
            raise UsageError(
                f"{folder}: holds pictures of another {name}; choose another folder, or remove this one"
            )


def peak_memory() -> dict[str, float]:
    """The most memory in use so far, MiB: of the process, and of the GPU if one is used."""
    found: dict[str, float] = {}
    if sys.platform != "win32":
        import resource  # Unix only

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        found["process"] = most / (2**20 if sys.platform == "darwin" else 2**10)  # bytes there, KiB elsewhere
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        found["cuda"] = torch.cuda.max_memory_allocated() / 2**20
    return {name: round(value, 1) for name, value in found.items()}


def _keep(folder: Path, drawn: Drawn, warm: bool) -> None:
    """The picture first: a portrait without a line in the log is whole, the reverse is not."""
    if drawn.image is not None:
        write_png(folder / drawn.case.name, drawn.image, drawn.metadata)
    line: dict[str, Any] = {"name": drawn.case.name, "seconds": dict(drawn.seconds), "warm": warm}
    append_line(folder / LOG, line | {"error": drawn.error, "memory_mib": peak_memory()})
