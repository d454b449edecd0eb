"""The benchmark: who is drawn how, as JSON Lines that anyone can hash and repeat."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, cast

from diffpc.errors import InputError, UsageError
from diffpc.files import atomic_write
from diffpc.settings import from_dict
from diffpc.weights import sha256

VERSION = 1
"""Of the format."""

MAX_BYTES = 64 * 2**20
"""Of a manifest: one of 20,000 persons has about 40 MiB."""

_NAME = re.compile(r"\w[\w.' -]{0,119}")
_REMEDY = "build the manifest again with `diffpc evaluate build`"


@dataclass(frozen=True)
class PhotoFile:
    """A photo of the benchmark."""

    path: str
    """Below the folder of photos, with forward slashes."""
    sha256: str
    """Of the file."""


@dataclass(frozen=True)
class Prompt:
    """A text and what can be checked of it."""

    text: str
    asks: tuple[str, ...] = ()
    """Attributes (see `attributes.NAMES`) that the text wants."""
    denies: tuple[str, ...] = ()
    """Attributes that it does not want: the other side of a contrast."""


@dataclass(frozen=True)
class Person:
    """One person's portraits: every target with every prompt and every seed."""

    person: str
    reference: PhotoFile
    targets: tuple[PhotoFile, ...]
    """Of other persons."""
    prompts: tuple[Prompt, ...]
    seeds: tuple[int, ...]
    other: PhotoFile | None = None
    """Another photo of the person, which no system sees; the copy score needs it."""

    def cases(self) -> Iterator[Case]:
        """The portraits, in the order in which they are drawn."""
        for target in range(len(self.targets)):
            for prompt in range(len(self.prompts)):
                for seed in range(len(self.seeds)):
                    yield Case(self, target, prompt, seed)


@dataclass(frozen=True)
class Case:
    """One portrait; the numbers count from 0."""

    of: Person
    target: int
    prompt: int
    seed: int

    @property
    def name(self) -> str:
        """The picture's path below a system's folder: PERSON/t0-p1-s2.png."""
        return f"{self.of.person}/t{self.target}-p{self.prompt}-s{self.seed}.png"


@dataclass(frozen=True)
class Manifest:
    """A whole benchmark."""

    name: str
    source: str
    """Which photos these are and where they come from."""
    people: tuple[Person, ...]
    digest: str
    """sha256 of the file: the benchmark's identity."""

    def cases(self) -> list[Case]:
        """All portraits."""
        return [case for person in self.people for case in person.cases()]

    def photos(self) -> list[PhotoFile]:
        """Every photo once, by path."""
        found: dict[str, PhotoFile] = {}
        for person in self.people:
            others = [person.other] if person.other else []
            found |= {photo.path: photo for photo in (person.reference, *person.targets, *others)}
        return [found[path] for path in sorted(found)]


def encode(name: str, source: str, people: tuple[Person, ...]) -> bytes:
    """The manifest's file: a head, then one line per person; the same benchmark gives the same bytes."""
    head = {"benchmark": name, "source": source, "version": VERSION}
    lines = [head, *(asdict(person) for person in people)]
    return "".join(json.dumps(line, sort_keys=True, ensure_ascii=True) + "\n" for line in lines).encode()


def write_manifest(path: Path, name: str, source: str, people: tuple[Person, ...]) -> Manifest:
    """Write a benchmark, checked as if it were read.

    Raises:
        InputError: if it is not one, or the file cannot be written.
    """
    data = encode(name, source, people)
    manifest = parse(data, str(path))
    with atomic_write(path) as stream:
        stream.write(data)
    return manifest


def read_manifest(path: Path) -> Manifest:
    """Read a benchmark.

    Raises:
        InputError: if the file is missing, too large or malformed.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); {_REMEDY}") from error
    if len(data) > MAX_BYTES:
        raise InputError(f"{path}: is larger than {MAX_BYTES // 2**20} MiB; {_REMEDY}")
    return parse(data, str(path))


def parse(data: bytes, place: str) -> Manifest:
    """The benchmark in a file's bytes.

    Raises:
        InputError: naming the line that is wrong.
    """
    lines = [_object(line, f"{place}:{number}") for number, line in enumerate(data.splitlines(), 1)]
    if not lines or lines[0].get("version") != VERSION:
        raise InputError(f"{place}: is no benchmark of version {VERSION}; {_REMEDY}")
    people = tuple(_person(line, f"{place}:{number}") for number, line in enumerate(lines[1:], 2))
    if not people or len({one.person for one in people}) < len(people):
        raise InputError(f"{place}: names nobody, or a person twice; {_REMEDY}")
    digest = hashlib.sha256(data).hexdigest()
    return Manifest(str(lines[0].get("benchmark")), str(lines[0].get("source")), people, digest)


def checked_photo(root: Path, photo: PhotoFile) -> Path:
    """Where a photo lies.

    Raises:
        InputError: if it is not there, or not the photo that the benchmark means.
    """
    path = root / photo.path
    if not path.is_file():
        raise InputError(f"{path}: is missing; pass the folder of the benchmark's photos as --photos")
    if sha256(path) != photo.sha256:
        raise InputError(
            f"{path}: is another photo than the benchmark's; restore it, or build a new benchmark"
        )
    return path


def _object(line: bytes, place: str) -> dict[str, Any]:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place}: is not JSON ({error}); {_REMEDY}") from error
    if not isinstance(values, dict):
        raise InputError(f"{place}: is not an object; {_REMEDY}")
    return cast(dict[str, Any], values)


def _person(values: Mapping[str, Any], place: str) -> Person:
    try:
        person = from_dict(Person, values, place)
    except UsageError as error:
        raise InputError(f"{error}; {_REMEDY}") from error
    photos = [person.reference, *person.targets, *([person.other] if person.other else [])]
    wrong = [photo.path for photo in photos if not _below(photo.path)]
    if wrong or not _NAME.fullmatch(person.person):
        raise InputError(f"{place}: {(wrong or [person.person])[0]!r} is no name below a folder; {_REMEDY}")
    if not (person.targets and person.prompts and person.seeds):
        raise InputError(f"{place}: {person.person} has no target, prompt or seed; {_REMEDY}")
    return person


def _below(path: str) -> bool:
    """Whether a path stays inside the folder it is joined to."""
    parts = PurePosixPath(path).parts
    return (
        bool(parts)
        and not path.startswith("/")
        and ".." not in parts
        and "\\" not in path
        and ":" not in path
    )
