"""A request -> a job: its options checked and its photos read, before any network is imported."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from diffpc.errors import InputError
from diffpc.generate.detail import Detail
from diffpc.generate.request import Request, check_options, checked_output, is_photo
from diffpc.images import read_image
from diffpc.types import Image


@dataclass(frozen=True)
class Photo:
    """A photo that was read."""

    path: Path
    image: Image
    """Upright RGB."""

    @property
    def label(self) -> str:
        """What messages call it."""
        return str(self.path)


@dataclass(frozen=True)
class Job:
    """A checked request with its photos."""

    request: Request
    output: Path
    """`request.output`, which is given by now."""
    references: tuple[Photo, ...]
    target: Photo | None
    expression: Photo | None
    """Of `request.expression`, if that is a photo and no name."""
    detail: Detail = field(default_factory=Detail)
    """Of a record that is drawn again."""
    started: float = field(default_factory=time.perf_counter)
    """When the work began, by `time.perf_counter`."""


def prepared(request: Request, detail: Detail | None = None) -> Job:
    """Check what can be checked without a model, and read the photos.

    Args:
        request: what is asked for.
        detail: of a record that is drawn again.

    Raises:
        UsageError: if options are missing or contradict each other.
        InputError: if a photo cannot be read, or an output cannot be written.
    """
    started = time.perf_counter()
    check_options(request)
    output = checked_output(request)
    if request.identity and not request.identity.is_file():
        raise InputError(f"{request.identity}: no such identity file; check the path")
    return Job(
        request,
        output,
        tuple(_read(path) for path in request.reference),
        _read(request.target) if request.target else None,
        _read(Path(request.expression)) if request.expression and is_photo(request.expression) else None,
        detail or Detail(),
        started,
    )


def _read(path: Path) -> Photo:
    return Photo(path, read_image(path))
