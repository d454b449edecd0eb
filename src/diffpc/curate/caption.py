"""What is seen in a photo, in words: who says it, by name, and the captions of one part on disk."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from time import process_time
from typing import Protocol, runtime_checkable

import pyarrow as pa

from diffpc.backends import load
from diffpc.curate.grammar import sentences
from diffpc.curate.parts import Told, read_columns, read_told, write_part
from diffpc.curate.settings import CaptionSettings
from diffpc.curate.traits import traits_of
from diffpc.images import decode_image

CAPTIONERS: dict[str, str] = {
    "attributes": "diffpc.curate.caption:AttributeCaptioner",
    "endpoint": "diffpc.curate.caption_endpoint:EndpointCaptioner",
    "transformers": "diffpc.curate.caption_local:load_local_captioner",
    "none": "diffpc.curate.caption:SilentCaptioner",
}
"""name -> factory(CaptionSettings, folder for what may be kept between runs) -> Captioner."""

CAPTION_FIELDS = pa.schema(
    [("source_key", pa.string()), ("captions", pa.list_(pa.string())), ("fault", pa.string())]
)


@dataclass(frozen=True)
class Seen:
    """A photo to describe."""

    key: str
    picture: bytes
    """The JPEG."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    measures: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Said:
    """Its captions."""

    captions: tuple[str, ...]
    fault: str = ""
    """Why there is none."""
    costs: Mapping[str, int] = field(default_factory=dict)
    """What a model counted: requests, prompt_tokens, completion_tokens."""


@runtime_checkable
class Captioner(Protocol):
    """Describes photos."""

    def __call__(self, photos: Sequence[Seen]) -> list[Said]:
        """What is said of each, in their order; a photo that cannot be described has a fault instead."""
        ...


def load_captioner(settings: CaptionSettings, folder: Path) -> Captioner:
    """A captioner by name.

    Args:
        settings: which, and how.
        folder: where it may keep answers.

    Raises:
        UsageError: if the name is unknown or an option is missing.
        InputError: if its model cannot be loaded.
    """
    return load("captioner", settings.captioner, CAPTIONERS)(settings, folder)


class AttributeCaptioner:
    """Puts into words what is known; needs no model and no network."""

    def __init__(self, settings: CaptionSettings, folder: Path) -> None:
        del folder
        self._settings = settings

    def __call__(self, photos: Sequence[Seen]) -> list[Said]:
        """See `Captioner`."""
        return [self._said(photo) for photo in photos]

    def _said(self, photo: Seen) -> Said:
        settings = self._settings
        traits = traits_of(photo.attributes, photo.measures, decode_image(photo.picture, photo.key))
        draw = random.Random(f"{settings.seed}:{photo.key}")
        return Said(tuple(sentences(traits, settings.count, settings.plain, draw)))


class SilentCaptioner:
    """Says nothing: training takes the empty prompt."""

    def __init__(self, settings: CaptionSettings, folder: Path) -> None:
        del settings, folder

    def __call__(self, photos: Sequence[Seen]) -> list[Said]:
        """See `Captioner`."""
        return [Said(()) for _ in photos]


@dataclass(frozen=True)
class CaptionPart:
    """The chosen photos of one part, and the file with what is said of them; see `engine.Job`."""

    file: Path
    photos: Path
    """The part's."""
    rows: tuple[int, ...]
    """Chosen ones in it."""
    settings: CaptionSettings
    folder: Path
    """For the captioner."""

    def done(self) -> Told | None:
        """What was told before."""
        return read_told(self.file)

    def make(self) -> Told:
        """Describe the photos and write the file.

        Raises:
            InputError: if the captioner fails altogether, or the file cannot be written.
        """
        return self.done() or self._make()

    def _make(self) -> Told:
        since = process_time()
        columns = read_columns(self.photos, ("source_key", "picture", "attributes", "measures"))
        rows = columns.take(pa.array(self.rows)).to_pylist(maps_as_pydicts="strict")
        seen = [Seen(row["source_key"], row["picture"], row["attributes"], row["measures"]) for row in rows]
        said = _captioner(self.settings, self.folder)(seen)
        costs = sum((Counter(one.costs) for one in said), Counter[str]())
        faults = sum(bool(one.fault) for one in said)
        told = Told(
            photos=len(said),
            kept=len(said) - faults,
            rejects={},
            seconds={"caption": round(process_time() - since, 4)},
            seen={"caption": len(said), **costs},
        )
        lines = [
            {"source_key": photo.key, "captions": one.captions, "fault": one.fault or None}
            for photo, one in zip(seen, said, strict=True)
        ]
        write_part(self.file, CAPTION_FIELDS, lines, told)
        return told


@lru_cache(maxsize=1)
def _captioner(settings: CaptionSettings, folder: Path) -> Captioner:
    return load_captioner(settings, folder)
