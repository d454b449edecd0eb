"""`diffpc curate`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, make_dataclass
from pathlib import Path
from typing import Annotated

from diffpc.cli.options import options_of
from diffpc.cli.output import Output, hush, say_for
from diffpc.curate.settings import (
    CaptionSettings,
    CurateSettings,
    DownloadSettings,
    EngineSettings,
    PersonSettings,
    PhotoSettings,
    ShardSettings,
)

DESCRIPTION = (
    "Make a training set with same-person pairs from photos of persons; run the same command again to go on after a "
    "stop. SOURCE: a folder of PERSON/PHOTO.jpg, a folder of shards 00000.tar ..., IMDb-Face.csv, or a CSV with the "
    "columns name and url. DESTINATION: where the set goes."
)


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
    say = say_for(options.quiet)
    outcome = curate(places, settings, options.run, say)
    page = write_report(destination, places.work, settings)
    if options.json:
        print(json.dumps({**asdict(outcome), "report": str(page)}))
        return 0
    rejects = sum(outcome.rejects.values())
    print(f"{destination}: {outcome.photos} photos of {outcome.persons} persons, {rejects} left out; {page}")
    return 0


def _parsed(arguments: Sequence[str]) -> tuple[Path, Path, Options]:
    import tyro

    # Made here, since annotations in a class body would need tyro at import; both places are required.
    places = [
        (
            name,
            Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar=name.upper())],
            field(kw_only=True),
        )
        for name in ("source", "destination")
    ]
    parsed = options_of(
        make_dataclass("Curate", places, bases=(Options,), frozen=True),
        "diffpc curate",
        arguments,
        DESCRIPTION,
    )
    return parsed.source, parsed.destination, parsed
