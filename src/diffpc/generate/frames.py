"""The frames of a video or of a folder of pictures: limits first, since either may come from anyone."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from diffpc.backends import require
from diffpc.errors import InputError
from diffpc.images import read_image
from diffpc.types import Image
from diffpc.weights import sha256

VIDEOS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi")
"""Suffixes of what is taken for a video, in small letters."""

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
"""Suffixes of what is taken from a folder."""

CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi"
"""No playlists: they name other files and addresses."""

MAX_BYTES = 2 * 2**30
MAX_PIXELS = 4096 * 2304
MAX_FRAMES = 2000
"""That are drawn."""

FOLDER_RATE = Fraction(12)
"""Frames per second of a folder's pictures."""


@dataclass(frozen=True)
class Film:
    """A video or a folder of pictures."""

    path: Path
    every: int
    """Every how many frames one is taken."""
    rate: Fraction
    """Taken frames per second."""
    digest: str
    """sha256 of the content."""


def is_film(path: Path) -> bool:
    """Whether a target is meant as a sequence: a folder, or a file with the suffix of a video."""
    return path.is_dir() or path.suffix.lower() in VIDEOS


def opened_film(path: Path, every: int) -> Film:
    """What is known of a film before its frames are read.

    Raises:
        UsageError: if PyAV is not installed.
        InputError: if it cannot be read, is no video, or is beyond the limits.
    """
    if path.is_dir():
        files = _pictures(path)
        digest = hashlib.sha256("".join(f"{one.name} {sha256(one)}\n" for one in files).encode())
        return Film(path, every, FOLDER_RATE / every, digest.hexdigest())
    with _video(path) as (_, stream):
        rate = stream.average_rate or Fraction(25)
    return Film(path, every, Fraction(rate) / every, sha256(path))


def frames(film: Film) -> Iterator[Image]:
    """The taken frames in their order: upright RGB.

    Raises:
        InputError: if one is damaged, or there are too many.
    """
    source = map(read_image, _pictures(film.path)) if film.path.is_dir() else _decoded(film.path)
    for number, image in enumerate(source):
        if number // film.every >= MAX_FRAMES:
            raise InputError(
                f"{film.path}: has more than {MAX_FRAMES} frames to draw; pass a larger --every, or cut it"
            )
        if number % film.every == 0:
            yield image


def _pictures(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES)
    if not found:
        raise InputError(f"{folder}: holds no pictures; give a folder of {', '.join(PICTURES)}")
    return found


def _decoded(path: Path) -> Iterator[Image]:
    with _video(path) as (container, stream):
        for frame in container.decode(stream):
            _check_size(path, frame.width, frame.height)
            turns = round(frame.rotation / 90) % 4
            yield np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), turns))


@contextmanager
def _video(path: Path) -> Generator[tuple[Any, Any]]:
    """The container and its first video stream. Given as a stream of bytes, it cannot name other files."""
    av = require("av", "video")
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path")
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"{path}: has more than {MAX_BYTES // 2**30} GiB; cut it")
    try:
        with (
            path.open("rb") as content,
            av.open(content, options={"format_whitelist": CONTAINERS}) as container,
        ):
            if not container.streams.video:
                raise InputError(f"{path}: has no pictures in it; give a video")
            stream = container.streams.video[0]
            _check_size(path, stream.codec_context.width, stream.codec_context.height)
            yield container, stream
    except (av.error.FFmpegError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"{path}: is no whole video ({reason}); export it again as MP4") from error


def _check_size(path: Path, width: int, height: int) -> None:
    if not 0 < width * height <= MAX_PIXELS:
        raise InputError(
            f"{path}: {width} x {height} px is over the limit of {MAX_PIXELS / 1e6:.1f} megapixels; shrink it"
        )
