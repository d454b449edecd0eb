"""PNGs -> one moving picture: animated WebP, or MP4."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

from PIL import Image as PILImage

from diffpc.backends import require
from diffpc.errors import UsageError
from diffpc.files import atomic_path
from diffpc.images import read_image
from diffpc.provenance import DIGITAL_SOURCE_TYPE

QUALITY = 90
"""Of WebP."""

CODECS = ("libx264", "mpeg4")
"""The first that PyAV was built with."""


def write_animation(pictures: Sequence[Path], path: Path, rate: Fraction, xmp: str) -> None:
    """Write a moving picture, whole or not at all.

    Args:
        pictures: PNGs of one size, at least one.
        path: ends in .webp or .mp4.
        rate: pictures per second.
        xmp: the packet that marks it as made by a model.

    Raises:
        UsageError: if the path ends otherwise, or PyAV is not installed.
        InputError: if it cannot be written.
    """
    with atomic_path(path) as temporary:
        writer_of(path)(pictures, temporary, rate, xmp)


def writer_of(path: Path) -> Callable[[Sequence[Path], Path, Fraction, str], None]:
    """What writes a file of that suffix.

    Raises:
        UsageError: if nothing does.
    """
    if path.suffix.lower() not in _WRITERS:
        raise UsageError(f"{path}: cannot be an animation; give --animation a name in .webp or .mp4")
    return _WRITERS[path.suffix.lower()]


def _webp(pictures: Sequence[Path], path: Path, rate: Fraction, xmp: str) -> None:
    first, *rest = pictures
    others = (PILImage.fromarray(read_image(one)) for one in rest)
    PILImage.fromarray(read_image(first)).save(
        path,
        "WEBP",
        save_all=True,
        append_images=others,
        duration=round(1000 / float(rate)),
        loop=0,
        quality=QUALITY,
        xmp=xmp.encode(),
    )


def _mp4(pictures: Sequence[Path], path: Path, rate: Fraction, xmp: str) -> None:
    """MP4 has no place for the packet that players keep: the comment names the kind of source."""
    del xmp
    av = require("av", "video")
    codec = next(name for name in CODECS if name in av.codecs_available)
    height, width = read_image(pictures[0]).shape[:2]
    with av.open(str(path), "w", format="mp4") as container:
        container.metadata["comment"] = f"AI-generated: {DIGITAL_SOURCE_TYPE}"
        stream = container.add_stream(codec, rate=rate.limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.bit_rate = 40 * width * height
        for one in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(read_image(one), format="rgb24")))
        container.mux(stream.encode(None))


_WRITERS = {".webp": _webp, ".mp4": _mp4}
