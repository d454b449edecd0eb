"""`diffpc curate`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from diffpc.cli.output import Output, hush
from diffpc.curate.engine import EngineSettings
from diffpc.curate.settings import (
    CaptionSettings,
    CurateSettings,
    DownloadSettings,
    PersonSettings,
    PhotoSettings,
    ShardSettings,
)

USAGE = """usage: diffpc curate SOURCE DESTINATION [OPTIONS]

Make a training set with same-person pairs from photos of persons; run the same command again to go on after a stop.

SOURCE: a folder of PERSON/PHOTO.jpg, a folder of shards 00000.tar ..., IMDb-Face.csv, or a CSV with name and url."""


@dataclass(frozen=True)
class Options(Output):
    """What the command takes; the paper's numbers are the defaults."""

    attributes: Path | None = None
    """CSV of what is known of the photos: image, then any columns; CelebA's attributes, gender, age and expressions go
    into captions and report."""
    parts: Path | None = None
    """Folder of the parts, such as another disk; by default .work below the destination."""
    photos: PhotoSettings = field(default_factory=PhotoSettings)
    persons: PersonSettings = field(default_factory=PersonSettings)
    captions: CaptionSettings = field(default_factory=CaptionSettings)
    download: DownloadSettings = field(default_factory=DownloadSettings)
    shards: ShardSettings = field(default_factory=ShardSettings)
    run: EngineSettings = field(default_factory=EngineSettings)


def run(arguments: Sequence[str]) -> int:
    """Make a set."""
    source, destination, options = _parsed(arguments)
    if not options.debug:
        hush()
    from diffpc.curate.report import write_report
    from diffpc.curate.run import Places, curate

    places = Places(source, destination, options.attributes, options.parts)
    settings = CurateSettings(
        options.photos, options.persons, options.captions, options.download, options.shards
    )
    say = _say(options.quiet)
    outcome = curate(places, settings, options.run, say)
    page = write_report(destination, settings)
    if options.json:
        print(json.dumps({**asdict(outcome), "report": str(page)}))
        return 0
    rejects = sum(outcome.rejects.values())
    print(f"{destination}: {outcome.photos} photos of {outcome.persons} persons, {rejects} left out; {page}")
    return 0


def _parsed(arguments: Sequence[str]) -> tuple[Path, Path, Options]:
    import tyro

    @dataclass(frozen=True)
    class Curate(Options):
        """The options, and the two places in front of them."""

        source: tyro.conf.Positional[Path] = Path()
        """Folder of PERSON/PHOTO.jpg or of shards, IMDb-Face.csv, or a CSV with the columns name and url."""
        destination: tyro.conf.Positional[Path] = Path()
        """Where the set goes; the same folder goes on with the same set."""

    parsed = tyro.cli(Curate, prog="diffpc curate", args=list(arguments))
    return parsed.source, parsed.destination, parsed


def _say(quiet: bool) -> Callable[[str], None]:
    def say(line: str) -> None:
        if not quiet:
            print(f"diffpc: {line}", file=sys.stderr)

    return say
