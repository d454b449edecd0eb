"""Every photo that people really have is read alike, and every broken one is refused in one line."""

import os
import struct
import sys
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PILImage
from PIL import ImageCms, ImageOps

from diffpc import images
from diffpc.errors import InputError, UsageError
from diffpc.images import cover_crop, decode_image, encode_png, read_image, resize, write_png

HEIGHT, WIDTH = 48, 64
RED, GREEN, WHITE = (255, 0, 0), (0, 255, 0), (255, 255, 255)


def scene() -> PILImage.Image:
    """Four flat quarters, all different: any turn or flip shows. Their edges lie on JPEG's blocks."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[:24, :32], pixels[:24, 32:], pixels[24:, :32], pixels[24:, 32:] = 40, 100, 160, 220
    return PILImage.fromarray(pixels)


def encoded(image: PILImage.Image, format_: str, **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def refusal(data: bytes) -> str:
    with pytest.raises(InputError) as caught:
        decode_image(data, "me.jpg")
    message = str(caught.value)
    assert message.startswith("me.jpg: ") and "\n" not in message
    return message


def difference(first: np.ndarray, second: Any) -> int:
    return int(np.abs(first.astype(int) - np.asarray(second).astype(int)).max())


# --- what is read ------------------------------------------------------------------------------------------


def test_reads_the_astronaut(astronaut_path: Path) -> None:
    image = read_image(astronaut_path)
    assert image.shape == (512, 512, 3) and image.dtype == np.uint8
    assert image.flags.writeable and image.flags.c_contiguous


@pytest.mark.parametrize("format_", images.FORMATS)
def test_reads_each_format(format_: str) -> None:
    assert difference(decode_image(encoded(scene(), format_), "x"), scene()) <= 3


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_gives_the_same_upright_image(format_: str, orientation: int) -> None:
    stored = scene()
    stored.getexif()[0x0112] = {6: 8, 8: 6}.get(orientation, orientation)  # the inverse of each
    stored = ImageOps.exif_transpose(stored)
    exif = PILImage.Exif()
    exif[0x0112] = orientation
    assert difference(decode_image(encoded(stored, format_, exif=exif), "x"), scene()) <= 3


def test_damaged_exif_is_passed_over() -> None:
    data = encoded(scene(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff broken")
    assert difference(decode_image(data, "x"), scene()) <= 3


@pytest.mark.parametrize("format_", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_not_clipped(format_: str) -> None:
    ramp = np.linspace(0, 65535, HEIGHT * WIDTH).round().astype(np.uint16).reshape(HEIGHT, WIDTH)
    image = decode_image(encoded(PILImage.fromarray(ramp), format_), "x")
    assert (image == (ramp / 257).round().astype(np.uint8)[..., None]).all()
    assert image.min() == 0 and image.max() == 255


def test_sixteen_bits_are_turned_upright_too() -> None:
    exif = PILImage.Exif()
    exif[0x0112] = 6
    ramp = PILImage.fromarray(np.arange(HEIGHT * WIDTH, dtype=np.uint16).reshape(HEIGHT, WIDTH))
    assert decode_image(encoded(ramp, "PNG", exif=exif), "x").shape == (WIDTH, HEIGHT, 3)


def test_sixteen_bit_colour() -> None:
    samples = np.zeros((HEIGHT, WIDTH, 3), ">u2")
    samples[..., 0], samples[..., 1] = 65535, 32768
    rows = b"".join(b"\0" + row.tobytes() for row in samples)
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, 2, 0, 0, 0)
    image = decode_image(png(header, zlib.compress(rows)), "x")
    assert (image == (255, 128, 0)).all()


def png(header: bytes, data: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("format_", ["JPEG", "TIFF"])
def test_cmyk(format_: str) -> None:
    image = decode_image(encoded(PILImage.new("CMYK", (40, 40), (0, 255, 255, 0)), format_), "x")
    assert difference(image, np.full((40, 40, 3), RED)) <= 3


@pytest.mark.parametrize(("mode", "format_"), [("L", "JPEG"), ("L", "PNG"), ("1", "PNG"), ("1", "TIFF")])
def test_grey(mode: str, format_: str) -> None:
    image = decode_image(encoded(scene().convert("L").convert(mode, dither=0), format_), "x")
    assert image.shape == (HEIGHT, WIDTH, 3)
    assert (image[..., 0] == image[..., 1]).all() and image[-1, -1, 0] > image[0, 0, 0]


def test_palette() -> None:
    assert difference(decode_image(encoded(scene().quantize(4), "PNG"), "x"), scene()) == 0


@pytest.mark.parametrize("format_", ["PNG", "WEBP", "TIFF"])
def test_alpha_is_laid_on_white(format_: str) -> None:
    photo = PILImage.new("RGBA", (40, 40), (*RED, 0))
    photo.paste((*RED, 255), (0, 0, 20, 40))
    photo.paste((*RED, 128), (0, 20, 40, 40))
    image = decode_image(encoded(photo, format_, **({"lossless": True} if format_ == "WEBP" else {})), "x")
    assert tuple(image[5, 5]) == RED and tuple(image[5, 35]) == WHITE
    assert difference(image[35, 35], (255, 127, 127)) <= 1


def test_grey_alpha_and_transparent_palette_are_laid_on_white() -> None:
    assert (decode_image(encoded(PILImage.new("LA", (40, 40), (0, 0)), "PNG"), "x") == 255).all()
    palette = PILImage.new("P", (40, 40), 0)
    palette.putpalette([*RED, *GREEN])
    palette.paste(1, (0, 0, 20, 40))
    image = decode_image(encoded(palette, "PNG", transparency=0), "x")
    assert tuple(image[5, 5]) == GREEN and tuple(image[5, 35]) == WHITE


@pytest.mark.parametrize("format_", ["GIF", "WEBP", "PNG", "TIFF"])
def test_animation_gives_its_first_frame(format_: str) -> None:
    frames = [PILImage.new("RGB", (40, 40), colour) for colour in (GREEN, RED)]
    data = encoded(frames[0], format_, save_all=True, append_images=frames[1:])
    assert difference(decode_image(data, "x"), np.full((40, 40, 3), GREEN)) <= 8


def swapped_profile() -> bytes:
    """An RGB profile whose red is green and whose green is red: the conversion cannot be overlooked."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    tags = {bytes(profile[at : at + 4]): at for at in range(132, 132 + 12 * profile[131], 12)}
    red, green = tags[b"rXYZ"] + 4, tags[b"gXYZ"] + 4
    profile[red : red + 8], profile[green : green + 8] = profile[green : green + 8], profile[red : red + 8]
    return bytes(profile).replace("sRGB".encode("utf-16-be"), "test".encode("utf-16-be"))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_icc_profile_is_converted_to_srgb(mode: str) -> None:
    red = PILImage.new("RGB", (40, 40), RED).convert(mode)
    image = decode_image(encoded(red, "PNG", icc_profile=swapped_profile()), "x")
    assert difference(image, np.full((40, 40, 3), GREEN)) <= 2


def test_srgb_broken_and_foreign_profiles_leave_the_pixels_alone() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (srgb, swapped_profile()[:200], b"nonsense"):
        assert difference(decode_image(encoded(scene(), "PNG", icc_profile=profile), "x"), scene()) == 0
    grey = encoded(scene().convert("L"), "PNG", icc_profile=swapped_profile())
    assert difference(decode_image(grey, "x"), scene()) <= 1


# --- what is refused ---------------------------------------------------------------------------------------


def test_missing_folder_pipe_and_empty(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.jpg: no such file"):
        read_image(tmp_path / "none.jpg")
    with pytest.raises(InputError, match="is a folder"):
        read_image(str(tmp_path))
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(InputError, match=r"pipe\.jpg: is not a regular file"):
        read_image(tmp_path / "pipe.jpg")
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(InputError, match=r"empty\.jpg: the file is empty"):
        read_image(tmp_path / "empty.jpg")
    with pytest.raises(InputError, match="cannot be read"):
        read_image("null\0byte.jpg")


def test_huge_file_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "huge.jpg").open("wb") as stream:
        stream.truncate(images.MAX_BYTES + 1)  # sparse: takes no room on the disk
    with pytest.raises(InputError, match="256 MiB, over the limit"):
        read_image(tmp_path / "huge.jpg")


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"Dear reader, this is a letter.\n" * 10, "not an image in a supported format"),
        (b"\0\0\0\x18ftypheic" + bytes(100), "a HEIC photo"),
        (b"\0\0\0\x18ftypavif" + bytes(100), "an AVIF image"),
        (b"\0\0\0\x18ftypisom" + bytes(100), "a video"),
        (b"%PDF-1.7" + bytes(100), "a PDF document"),
        (encoded(scene(), "JPEG2000"), "a JPEG 2000 image"),
        (encoded(scene(), "ICO"), "an icon"),
        (encoded(scene(), "PPM"), "not an image in a supported format"),
        (encoded(scene(), "EPS"), "a PostScript document"),
    ],
)
def test_wrong_type_is_named(data: bytes, name: str) -> None:
    message = refusal(data)
    assert name in message and message.endswith("convert it to JPEG, PNG, WebP, BMP, TIFF or GIF")


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF"])
@pytest.mark.parametrize("part", [0.3, 0.7])
def test_truncated(format_: str, part: float) -> None:
    noise = PILImage.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    data = encoded(noise, format_)
    assert "damaged" in refusal(data[: int(len(data) * part)])


@pytest.mark.parametrize("compression", ["tiff_lzw", "jpeg", "tiff_adobe_deflate"])
def test_damaged_tiff_prints_nothing(compression: str, capfd: pytest.CaptureFixture[str]) -> None:
    data = bytearray(encoded(scene(), "TIFF", compression=compression))
    data[9:40] = b"\xff" * 31
    refusal(bytes(data))
    sys.stderr.write("stderr is back\n")
    assert capfd.readouterr().err == "stderr is back\n"


@pytest.mark.parametrize(
    ("side", "bound"), [(100_000, "over the limit"), (9_000, "over the limit"), (2**31 - 1, "")]
)
def test_decompression_bomb_is_refused_from_its_header(side: int, bound: str) -> None:
    bomb = png(struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0), zlib.compress(bytes(10**6)))
    assert bound in refusal(bomb)


def test_compressed_text_bomb() -> None:
    whole = encoded(scene(), "PNG")
    body = b"Comment\0\0" + zlib.compress(bytes(2**26))
    chunk = struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(">I", zlib.crc32(b"zTXt" + body))
    assert "damaged" in refusal(whole[:33] + chunk + whole[33:])


def test_too_small() -> None:
    assert "1 x 1 px is too small" in refusal(encoded(PILImage.new("RGB", (1, 1)), "PNG"))
    assert "too small" in refusal(encoded(PILImage.new("RGB", (500, 31)), "JPEG"))
    assert decode_image(encoded(PILImage.new("RGB", (32, 32)), "PNG"), "x").shape == (32, 32, 3)


def test_float_and_32_bit_samples_are_refused_by_name() -> None:
    for mode in ("F", "I"):
        assert f"type {mode} are not supported" in refusal(encoded(PILImage.new(mode, (40, 40)), "TIFF"))


def test_mutated_files_are_read_or_refused(random: np.random.Generator) -> None:
    samples = [encoded(scene(), format_) for format_ in images.FORMATS]
    samples.append(encoded(scene(), "TIFF", compression="tiff_lzw"))
    for number in range(700):
        data = np.frombuffer(samples[number % len(samples)], np.uint8).copy()
        # Mostly in the header, where the decoders' decisions are; and few enough to get past its checks.
        places = random.integers(0, min(len(data), 400), random.integers(1, 5))
        data[places] = random.choice([0, 1, 127, 128, 255], len(places))
        try:
            assert decode_image(data.tobytes(), "x").dtype == np.uint8
        except InputError as error:
            assert str(error).startswith("x: ")


# --- what is written ---------------------------------------------------------------------------------------


def test_png_round_trip_with_metadata(tmp_path: Path, random: np.random.Generator) -> None:
    image = random.integers(0, 256, (33, 47, 3), np.uint8)
    write_png(tmp_path / "new" / "out.png", image, {"diffpc": "Porträt \U0001f600"})
    assert (read_image(tmp_path / "new" / "out.png") == image).all()
    with PILImage.open(tmp_path / "new" / "out.png") as picture:
        assert picture.info["diffpc"] == "Porträt \U0001f600"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out.png"]


def test_same_arguments_same_bytes(astronaut: np.ndarray) -> None:
    assert encode_png(astronaut, {"a": "b", "c": "d"}) == encode_png(astronaut.copy(), {"a": "b", "c": "d"})


def test_unwritable_target_is_an_input_error(tmp_path: Path, astronaut: np.ndarray) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        write_png(tmp_path, astronaut)
    assert list(tmp_path.iterdir()) == []


# --- sizes -------------------------------------------------------------------------------------------------


def test_resize_keeps_a_flat_image_flat_and_averages_detail() -> None:
    flat = np.full((50, 70, 3), (1, 128, 254), np.uint8)
    assert resize(flat, 33, 91).shape == (91, 33, 3) and (resize(flat, 33, 91) == (1, 128, 254)).all()
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    assert difference(resize(stripes, 8, 8)[2:-2, 2:-2], np.full((4, 4, 3), 127)) <= 6


def test_cover_crop_cuts_the_middle_or_where_told() -> None:
    wide = np.zeros((40, 120, 3), np.uint8)
    wide[:, :40], wide[:, 40:80], wide[:, 80:] = RED, GREEN, WHITE
    assert (cover_crop(wide, 40, 40) == GREEN).all()
    assert (cover_crop(wide, 20, 20, centre=(0.0, 0.5))[:, :-4] == RED).all()  # the filter looks past the cut
    assert (cover_crop(wide, 40, 40, centre=(1.0, 0.0)) == WHITE).all()
    tall = wide.transpose(1, 0, 2)
    assert (cover_crop(tall, 40, 40) == GREEN).all()
    assert (cover_crop(wide, 120, 40) == wide).all()


@pytest.mark.parametrize("size", [(0, 5), (5, -1)])
def test_impossible_sizes(size: tuple[int, int]) -> None:
    picture = np.zeros((40, 40, 3), np.uint8)
    for change in (resize, cover_crop):
        with pytest.raises(UsageError, match="at least 1 px"):
            change(picture, *size)
