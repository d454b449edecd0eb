"""One part of the photos through the stages."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from diffpc.curate.journal import Journal, survives
from diffpc.curate.parts import Told, read_told, write_part
from diffpc.curate.record import Listed, Record, Reject
from diffpc.curate.rows import PART_FIELDS, photo_row, reject_row
from diffpc.curate.settings import PhotoSettings
from diffpc.curate.stages import STAGES
from diffpc.curate.tools import Tools, load_tools
from diffpc.errors import UsageError
from diffpc.photos import Photo


@dataclass(frozen=True)
class PhotoPart:
    """Some photos, and the file that tells what became of them."""

    file: Path
    photos: tuple[Listed, ...]
    settings: PhotoSettings

    def done(self) -> Told | None:
        """What the part tells of itself, if it was made before."""
        return read_told(self.file)

    def make(self) -> Told:
        """Take the photos through the stages and write the file.

        Raises:
            InputError: if a photo's bytes are gone or the file cannot be written: no fault of a photo's.
        """
        return self.done() or make_part(self, tools_for(self.settings))


@dataclass
class Clock:
    """Processor time per stage."""

    seconds: Counter[str] = field(default_factory=Counter[str])
    seen: Counter[str] = field(default_factory=Counter[str])

    def add(self, stage: str, since: float) -> None:
        """Add what passed in a stage since `time.process_time()` gave `since`."""
        self.seconds[stage] += time.process_time() - since  # pyright: ignore[reportArgumentType] - adds floats
        self.seen[stage] += 1


@lru_cache(maxsize=1)
def tools_for(settings: PhotoSettings) -> Tools:
    """The tools of this process: a worker makes many parts with them."""
    return load_tools(settings)


def make_part(part: PhotoPart, tools: Tools) -> Told:
    """See `PhotoPart.make`."""
    for remains in part.file.parent.glob(f".{part.file.name}.*"):  # of a worker that was killed
        remains.unlink(missing_ok=True)
    journal, clock = Journal(part.file), Clock()
    suspects = journal.suspects()
    rows: list[dict[str, Any]] = []
    for number, listed in enumerate(part.photos):
        if number in suspects and not survives(listed, part.settings):
            rows.append(reject_row(Reject(listed, "crashed", "the program dies of this photo")))
            continue
        journal.begin(number)
        found = look_at(listed, tools, clock)
        rows.append(reject_row(found) if isinstance(found, Reject) else photo_row(found, part.settings.size))
    told = _told([row.get("reason") for row in rows], clock)
    write_part(part.file, PART_FIELDS, rows, told)
    journal.close()
    return told


def look_at(listed: Listed, tools: Tools, clock: Clock | None = None) -> Record | Reject:
    """Take one photo through all stages, up to the one that refuses it.

    Raises:
        InputError: if its bytes cannot be read.
    """
    clock = clock or Clock()
    found: Record | Reject = Record(listed, _content(listed))
    for name, stage in STAGES.items():
        since = time.process_time()
        try:
            found = stage(found, tools)
        except UsageError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a library makes of it, it costs this photo only
            found = Reject(
                listed, "crashed", f"{name}: {type(error).__name__}: {str(error)[:200]}", found.image
            )
        clock.add(name, since)
        if isinstance(found, Reject):
            break
    return found


def _content(listed: Listed) -> bytes:
    return Photo(listed.key, listed.person, (), Path(listed.file), listed.size, listed.offset).read()


def _told(reasons: Sequence[str | None], clock: Clock) -> Told:
    """reasons: of each photo, None if it is kept."""
    rejects = Counter(reason for reason in reasons if reason)
    return Told(
        photos=len(reasons),
        kept=len(reasons) - rejects.total(),
        rejects=dict(sorted(rejects.items())),
        seconds={name: round(value, 4) for name, value in clock.seconds.items()},
        seen=dict(clock.seen),
    )
