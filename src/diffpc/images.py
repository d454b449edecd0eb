"""Photos in and pictures out: decoding what people have, resizing, writing. No tensors (see tensors.py)."""

import logging
import os
import stat
import struct
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager, nullcontext
from io import BytesIO
from pathlib import Path
from threading import Lock
from typing import cast

import numpy as np
from PIL import Image as PILImage
from PIL import ImageCms, PngImagePlugin, TiffImagePlugin

from diffpc.errors import InputError, UsageError
from diffpc.files import atomic_write
from diffpc.types import Image

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
MAX_BYTES = 256 * 2**20
MAX_PIXELS = 64_000_000
MIN_SIDE = 32
BACKGROUND = (255, 255, 255)
"""Transparent photos are laid on white, as browsers and printers show a cut-out portrait."""

_SUPPORTED = "JPEG, PNG, WebP, BMP, TIFF or GIF"
_CONVERTIBLE = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr"})

# What Pillow raises on broken files; caught around its `open` and `load` only. The first three were seen when
# 70,000 mutated files of every accepted format were read, the others are known from its history.
_DECODER_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    struct.error,
    LookupError,
    TypeError,
    ArithmeticError,
    RuntimeError,
    PILImage.DecompressionBombError,
)

# (offset, bytes there, description) of what people most often try instead; the general comes last.
_FOREIGN = (
    (4, b"ftypheic", "a HEIC photo"),
    (4, b"ftypheix", "a HEIC photo"),
    (4, b"ftypmif1", "a HEIF photo"),
    (4, b"ftypavif", "an AVIF image"),
    (4, b"ftyp", "a video"),
    (0, b"\x1aE\xdf\xa3", "a video"),
    (0, b"\x00\x00\x00\x0cjP", "a JPEG 2000 image"),
    (0, b"\x00\x00\x00\x0cJXL", "a JPEG XL image"),
    (0, b"\xff\x0a", "a JPEG XL image"),
    (0, b"8BPS", "a Photoshop document"),
    (0, b"%PDF", "a PDF document"),
    (0, b"%!PS", "a PostScript document"),
    (0, b"\x00\x00\x01\x00", "an icon"),
    (0, b"PK\x03\x04", "a ZIP archive"),
)

_UPRIGHT = {
    2: PILImage.Transpose.FLIP_LEFT_RIGHT,
    3: PILImage.Transpose.ROTATE_180,
    4: PILImage.Transpose.FLIP_TOP_BOTTOM,
    5: PILImage.Transpose.TRANSPOSE,
    6: PILImage.Transpose.ROTATE_270,
    7: PILImage.Transpose.TRANSVERSE,
    8: PILImage.Transpose.ROTATE_90,
}
_EXIF_ORIENTATION = 0x0112

_ICC_SPACES = {"RGB": b"RGB ", "CMYK": b"CMYK", "L": b"GRAY"}
"""Pillow's mode -> the colour space as a profile's header has it in bytes 16 to 20 (ICC.1:2022, 7.2)."""

_SILENCE = Lock()


def read_image(path: Path | str) -> Image:
    """Read a photo: RGB, uint8, upright, sRGB.

    The EXIF orientation is applied, an ICC profile is converted to sRGB, 16-bit samples are scaled to 8,
    transparency is laid on white, and of an animation the first frame is taken.

    Raises:
        InputError: if there is no such file, or it is no JPEG, PNG, WebP, BMP, TIFF or GIF, is damaged, has a
            side under 32 px, more than 64 megapixels or more than 256 MiB.
    """
    return decode_image(_read_bounded(Path(path)), str(path))


def decode_image(data: bytes, name: str, most_pixels: int = MAX_PIXELS) -> Image:
    """Decode an image file held in memory, as `read_image` does.

    Args:
        data: the file's content.
        name: what to call it in an error message.
        most_pixels: a stricter limit than 64 megapixels.

    Raises:
        InputError: as `read_image`.
    """
    if not data:
        raise InputError(f"{name}: the file is empty; give a {_SUPPORTED} photo")
    _check_length(len(data), name)
    with _quiet_pillow():
        image = _open(data, name)
        _check_size(image.size, name, most_pixels)  # from the header: no pixel is decoded yet
        _load(image, name)
        _check_size(image.size, name, most_pixels)  # some decoders learn the true size only now
        return np.array(_rgb(_eight_bit(_upright(image), name)))


def write_png(path: Path | str, image: Image, metadata: Mapping[str, str] | None = None) -> None:
    """Write a PNG whole or not at all; the same arguments give the same bytes.

    Args:
        path: the file; replaced if it exists, its folder is made if needed.
        image: RGB, uint8.
        metadata: keyword -> text, written as iTXt chunks in this order (see provenance.py).

    Raises:
        InputError: if the file cannot be written.
    """
    with atomic_write(path) as stream:
        stream.write(encode_png(image, metadata))


def encode_png(image: Image, metadata: Mapping[str, str] | None = None) -> bytes:
    """Return the bytes that `write_png` writes."""
    chunks = PngImagePlugin.PngInfo()
    for keyword, text in (metadata or {}).items():
        chunks.add_itxt(keyword, text)
    buffer = BytesIO()
    PILImage.fromarray(image).save(buffer, "PNG", pnginfo=chunks, compress_level=6)
    return buffer.getvalue()


def resize(image: Image, width: int, height: int) -> Image:
    """Resample to `width` x `height` pixels with an antialiasing Lanczos filter.

    Raises:
        UsageError: if a side is under 1 px.
    """
    _check_target(width, height)
    return np.array(PILImage.fromarray(image).resize((width, height), PILImage.Resampling.LANCZOS))


def cover_crop(image: Image, width: int, height: int, centre: tuple[float, float] = (0.5, 0.5)) -> Image:
    """Cut the largest part with the aspect of `width` x `height` and resample it to that size.

    Args:
        image: RGB, uint8.
        width: pixels of the result.
        height: pixels of the result.
        centre: x, y in [0, 1] of the photo's sides: where the cut should be centred; moved so that it fits.

    Raises:
        UsageError: if a side is under 1 px.
    """
    _check_target(width, height)
    full_height, full_width = image.shape[:2]
    scale = min(full_width / width, full_height / height)
    left, right = _span(full_width, scale * width, centre[0])
    top, bottom = _span(full_height, scale * height, centre[1])
    source = PILImage.fromarray(image)
    box = (left, top, right, bottom)
    return np.array(source.resize((width, height), PILImage.Resampling.LANCZOS, box=box))


def _span(full: int, part: float, centre: float) -> tuple[float, float]:
    start = min(max(centre * full - part / 2, 0.0), full - part)
    return max(start, 0.0), min(start + part, float(full))


def _check_target(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise UsageError(f"size {width} x {height} px is impossible; both sides must be at least 1 px")


def _read_bounded(path: Path) -> bytes:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise InputError(f"{path}: is a folder; give one image file")
        if not stat.S_ISREG(status.st_mode):  # reading a pipe or a device may never end
            raise InputError(f"{path}: is not a regular file; give an image file")
        _check_length(status.st_size, str(path))
        with path.open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; check the path") from error
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise InputError(f"{path}: cannot be read ({error}); check its permissions") from error


def _check_length(length: int, name: str) -> None:
    if length > MAX_BYTES:
        raise InputError(
            f"{name}: the file has {length // 2**20} MiB, over the limit of {MAX_BYTES // 2**20}; shrink it"
        )


def _check_size(size: tuple[int, int], name: str, most: int) -> None:
    width, height = size
    if width * height > min(most, MAX_PIXELS):
        limit = min(most, MAX_PIXELS) / 10**6
        raise InputError(
            f"{name}: {width} x {height} px is over the limit of {limit:g} megapixels; shrink it"
        )
    if min(width, height) < MIN_SIDE:
        raise InputError(
            f"{name}: {width} x {height} px is too small; give a photo of at least {MIN_SIDE} x {MIN_SIDE} px"
        )


def _open(data: bytes, name: str) -> PILImage.Image:
    try:
        return PILImage.open(BytesIO(data), formats=FORMATS)
    except PILImage.DecompressionBombError as error:
        raise InputError(
            f"{name}: the image is over the limit of {MAX_PIXELS // 10**6} megapixels; shrink it"
        ) from error
    except PILImage.UnidentifiedImageError as error:
        raise InputError(f"{name}: {_foreign(data)}; convert it to {_SUPPORTED}") from error
    except _DECODER_ERRORS as error:
        raise _damaged(name, error) from error


def _load(image: PILImage.Image, name: str) -> None:
    try:
        with _native_silence() if image.format == "TIFF" else nullcontext():
            image.load()
    except _DECODER_ERRORS as error:
        raise _damaged(name, error) from error


@contextmanager
def _quiet_pillow() -> Generator[None]:
    """Keep Pillow's warnings and log lines about odd files to itself: what matters becomes an InputError."""
    logger = logging.getLogger(TiffImagePlugin.__name__)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.disabled = True
        try:
            yield
        finally:
            logger.disabled = False


@contextmanager
def _native_silence() -> Generator[None]:
    """Keep off stderr what libtiff prints about a damaged file: the user gets one line, ours.

    Pillow gives no access to libtiff's error handler. The whole process is silent while one TIFF is decoded.
    """
    with _SILENCE, Path(os.devnull).open("wb") as nothing:
        stderr = os.dup(2)
        os.dup2(nothing.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def _damaged(name: str, error: BaseException) -> InputError:
    lines = str(error).strip().splitlines()
    reason = lines[0][:100] if lines else type(error).__name__
    return InputError(f"{name}: the image is damaged ({reason}); export or download it again")


def _foreign(data: bytes) -> str:
    for offset, magic, description in _FOREIGN:
        if data[offset : offset + len(magic)] == magic:
            return f"is {description}, which is not supported"
    return "is not an image in a supported format, or its header is damaged"


def _eight_bit(image: PILImage.Image, name: str) -> PILImage.Image:
    if image.mode.startswith("I;16"):
        samples = np.asarray(image).astype(np.uint32)
        grey = PILImage.fromarray(((samples * 255 + 32767) // 65535).astype(np.uint8))
        grey.info = {"icc_profile": image.info.get("icc_profile")}
        return grey
    if image.mode not in _CONVERTIBLE:
        raise InputError(
            f"{name}: samples of type {image.mode} are not supported; save it with 8 or 16 bits per channel"
        )
    return image


def _upright(image: PILImage.Image) -> PILImage.Image:
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    except _DECODER_ERRORS:  # damaged EXIF data leave the pixels intact
        return image
    method = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if method is None else image.transpose(method)


def _rgb(image: PILImage.Image) -> PILImage.Image:
    """Flatten transparency on the background and bring the colours to sRGB."""
    profile = image.info.get("icc_profile")
    if image.has_transparency_data:
        image = _flatten(image.convert("RGBA"))
    elif image.mode not in _ICC_SPACES:
        image = image.convert("RGB")
    if isinstance(profile, bytes):
        image = _to_srgb(image, profile)
    return image.convert("RGB")


def _flatten(image: PILImage.Image) -> PILImage.Image:
    backdrop = PILImage.new("RGBA", image.size, (*BACKGROUND, 255))
    return PILImage.alpha_composite(backdrop, image).convert("RGB")


def _to_srgb(image: PILImage.Image, profile: bytes) -> PILImage.Image:
    """Convert from the embedded profile; one that is sRGB already, broken or foreign is left out."""
    if profile[16:20] != _ICC_SPACES[image.mode]:
        return image
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        if ImageCms.getProfileDescription(source).startswith("sRGB"):
            return image  # a round trip through the colour engine would move samples by one
        target = ImageCms.createProfile("sRGB")
        return cast(PILImage.Image, ImageCms.profileToProfile(image, source, target, outputMode="RGB"))
    except (ImageCms.PyCMSError, OSError):
        return image  # the photo is still usable, as every browser shows
