"""The actions of `diffpc evaluate`: options in, one call, a line out."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from diffpc.cli.options import options_of
from diffpc.cli.output import hush, say_for
from diffpc.errors import UsageError
from diffpc.evaluate.options import ModelChoice, Plan, ScoreOptions

T = TypeVar("T")

Kind = Literal["persons", "photos", "unsplash", "lfw"]


@dataclass(frozen=True)
class BuildOptions:
    """Photos -> a manifest."""

    kind: Kind
    """persons: a folder of PERSON/PHOTO.jpg (ID-centric-200); photos: one photo per person (FFHQ-150);
    unsplash: photos you fetched from a list of page addresses (Unsplash-50); lfw: a split of Labeled Faces in
    the Wild."""
    photos: Path
    """Folder of the photos."""
    output: Path
    """The manifest to write, NAME.jsonl."""
    list: Path | None = None
    """unsplash: the addresses, one a line; lfw: an official list such as peopleDevTest.txt."""
    source: str = ""
    """What the photos are; stands in the manifest and the report."""
    plan: Plan = field(default_factory=Plan)
    detector: str = "dlib"
    """Which face detector says that a photo can be used."""


@dataclass(frozen=True)
class DrawOptions:
    """A manifest's portraits, drawn."""

    manifest: Path
    photos: Path
    """Folder that the manifest's paths start from."""
    output: Path
    """Folder of the pictures."""
    choice: ModelChoice = field(default_factory=ModelChoice)
    baseline: str | None = None
    """Another system instead: faceid_plus_v2, instantid, photomaker_v2, pulid or flashface."""
    python: str = sys.executable
    """The baseline's interpreter, in the environment of its requirements file."""
    set: tuple[str, ...] = ()
    """NAME=VALUE for the baseline, VALUE as JSON or text: where its weights are, steps, size ..."""
    part: str = "1/1"
    """NUMBER/COUNT: only each COUNT-th person, for several processes or GPUs that share the folder."""
    quiet: bool = False
    """No news."""


@dataclass(frozen=True)
class Scored:
    """Pictures, measured."""

    manifest: Path
    photos: Path
    """Folder that the manifest's paths start from."""
    pictures: Path
    """Folder of pictures by the manifest's names, of any system; scores/ in it gets the result."""
    judges: ScoreOptions = field(default_factory=ScoreOptions)
    quiet: bool = False
    """No news."""


@dataclass(frozen=True)
class ReportOptions:
    """Scored systems -> a report."""

    manifest: Path
    photos: Path
    """Folder that the manifest's paths start from."""
    systems: tuple[str, ...]
    """NAME=FOLDER of each system's scored pictures."""
    output: Path
    """Folder of the report. It shows photos of the benchmark: mind whose they are before you publish it."""


@dataclass(frozen=True)
class StudyOptions:
    """Drawn systems -> a page that asks people."""

    manifest: Path
    photos: Path
    """Folder that the manifest's paths start from."""
    systems: tuple[str, ...]
    """NAME=FOLDER of each system's pictures, two or more."""
    output: Path
    """Folder of study.html and key.json."""
    count: int = 20
    """Cases to ask about."""


@dataclass(frozen=True)
class VotesOptions:
    """Answers -> shares."""

    key: Path
    """key.json of the study."""
    answers: tuple[Path, ...]
    """One file per participant."""


@dataclass(frozen=True)
class CalibrateOptions:
    """Pairs of photos -> a threshold."""

    embedder: str
    """A face embedder: dlib, arcface, judge."""
    photos: Path
    """Folder of PERSON/PERSON_0001.jpg."""
    choose: Path
    """Pairs to choose on: pairsDevTrain.txt."""
    test: Path
    """Pairs of other persons: pairsDevTest.txt."""
    output: Path
    """The JSON file to write."""
    detector: str = "dlib"
    """Who finds the faces."""
    quiet: bool = False
    """No news."""


def build(arguments: Sequence[str]) -> int:
    """`diffpc evaluate build`."""
    options = parsed(BuildOptions, "build", arguments)
    hush()
    from diffpc.evaluate import builders
    from diffpc.evaluate.usable import one_face

    needs_list = options.kind in ("unsplash", "lfw")
    if needs_list != (options.list is not None):
        raise UsageError(f"--list {'is missing' if needs_list else 'is of no use'} for --kind {options.kind}")
    listed = options.list or Path()
    found = {
        "persons": lambda: builders.folder_of_persons(options.photos),
        "photos": lambda: builders.folder_of_photos(options.photos),
        "unsplash": lambda: builders.listed_pages(options.photos, listed),
        "lfw": lambda: builders.official_split(options.photos, listed),
    }[options.kind]()
    usable = one_face(options.detector)
    manifest = builders.build(found, options.photos, options.plan, usable, options.output, options.source)
    print(
        f"{options.output}: {len(manifest.people)} persons, {len(manifest.cases())} portraits, sha256 {manifest.digest}"
    )
    return 0


def draw(arguments: Sequence[str]) -> int:
    """`diffpc evaluate draw`."""
    options = parsed(DrawOptions, "draw", arguments)
    hush()
    from diffpc.evaluate.draw import Part
    from diffpc.evaluate.draw import draw as drawn
    from diffpc.evaluate.manifest import read_manifest

    part = Part.parse(options.part)
    manifest, say = read_manifest(options.manifest), say_for(options.quiet)
    if options.baseline:
        from diffpc.evaluate.baselines.process import ProcessSystem

        with ProcessSystem(options.baseline, _settings(options.set), options.python) as system:
            done = drawn(manifest, options.photos, system, options.output, say, part)
    else:
        from diffpc.evaluate.system import DiffPCSystem

        done = drawn(manifest, options.photos, DiffPCSystem(options.choice), options.output, say, part)
    print(f"{options.output}: {done.drawn} of {done.total} portraits drawn, {done.failed} not drawable")
    return 0


def score(arguments: Sequence[str]) -> int:
    """`diffpc evaluate score`."""
    options = parsed(Scored, "score", arguments)
    hush()
    from diffpc.evaluate.manifest import read_manifest
    from diffpc.evaluate.score import score as scored
    from diffpc.evaluate.tables import Named, main_table, markdown

    manifest = read_manifest(options.manifest)
    found = scored(manifest, options.photos, options.pictures, options.judges, say_for(options.quiet))
    rows = main_table([Named(options.pictures.name, found)])
    print(markdown([rows[0], *rows[2:]]))
    return 0


def report(arguments: Sequence[str]) -> int:
    """`diffpc evaluate report`."""
    options = parsed(ReportOptions, "report", arguments)
    hush()
    from diffpc.evaluate.manifest import read_manifest
    from diffpc.evaluate.report import report as reported

    manifest = read_manifest(options.manifest)
    for path in reported(_systems(options.systems), manifest, options.photos, options.output):
        print(path)
    return 0


def study(arguments: Sequence[str]) -> int:
    """`diffpc evaluate study`."""
    options = parsed(StudyOptions, "study", arguments)
    hush()
    from diffpc.evaluate.manifest import read_manifest
    from diffpc.evaluate.study import items, write_study

    manifest, systems = read_manifest(options.manifest), _systems(options.systems)
    chosen = items(manifest, systems, options.count)
    write_study(manifest, options.photos, systems, chosen, options.output)
    print(
        f"{options.output / 'study.html'}: {len(chosen)} cases; keep {options.output / 'key.json'} to yourself"
    )
    return 0


def votes(arguments: Sequence[str]) -> int:
    """`diffpc evaluate votes`."""
    options = parsed(VotesOptions, "votes", arguments)
    hush()
    from diffpc.evaluate.study import analyse

    for figure in analyse(options.key, options.answers):
        value = (
            "no vote"
            if figure.value is None
            else f"{figure.value:.1f} % [{figure.low:.1f}, {figure.high:.1f}]"
        )
        print(f"{figure.name}: {value}, {figure.count} votes of {figure.persons} people")
    return 0


def calibrate(arguments: Sequence[str]) -> int:
    """`diffpc evaluate calibrate`."""
    options = parsed(CalibrateOptions, "calibrate", arguments)
    hush()
    from diffpc.evaluate.calibrate import calibrate as calibrated

    lists = (options.choose, options.test)
    found = calibrated(
        options.embedder, options.detector, options.photos, lists, options.output, say_for(options.quiet)
    )
    print(f"{options.output}: threshold {found.threshold}, {found.tested}")
    return 0


def _settings(given: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for one in given:
        name, _, value = one.partition("=")
        if not name or not value:
            raise UsageError(f"--set {one}: give NAME=VALUE")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def _systems(given: Sequence[str]) -> dict[str, Path]:
    pairs = [one.partition("=") for one in given]
    wrong = [one for one, (name, _, folder) in zip(given, pairs, strict=True) if not (name and folder)]
    if wrong or len({name for name, *_ in pairs}) < len(pairs):
        raise UsageError(f"--systems {' '.join(wrong or given)}: give NAME=FOLDER, each name once")
    return {name: Path(folder) for name, _, folder in pairs}


def parsed(kind: type[T], name: str, arguments: Sequence[str]) -> T:
    """The options of an action."""
    import tyro

    return options_of(kind, f"diffpc evaluate {name}", arguments, None, tyro.conf.OmitArgPrefixes)
