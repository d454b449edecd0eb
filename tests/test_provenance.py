"""A portrait carries what replays it, and the mark of an AI-generated image."""

import json
import struct
import xml.etree.ElementTree as ElementTree
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage

from diffpc import provenance
from diffpc.errors import InputError
from diffpc.images import read_image, write_png
from diffpc.provenance import Provenance

PICTURE = np.zeros((40, 40, 3), np.uint8)
MADE = Provenance(
    version="0.1.0",
    prompt='Ein Porträt, "draußen" \U0001f600 \udcff',
    seed=2**63,
    settings={"steps": 20, "pose": [25.0, 0.0, 0.0], "expression": "smile", "target": None},
    weights={"tiny/unet": "ab" * 32},
)


def portrait(folder: Path, **texts: str) -> Path:
    write_png(folder / "portrait.png", PICTURE, texts)
    return folder / "portrait.png"


def test_settings_come_back(tmp_path: Path) -> None:
    path = portrait(tmp_path, **provenance.png_metadata(MADE))
    assert provenance.read_settings(path) == MADE
    assert (read_image(path) == PICTURE).all()


def test_same_provenance_same_bytes(tmp_path: Path) -> None:
    first = portrait(tmp_path, **provenance.png_metadata(MADE)).read_bytes()
    assert portrait(tmp_path, **provenance.png_metadata(MADE)).read_bytes() == first


def test_iptc_marker_is_valid_xmp(tmp_path: Path) -> None:
    with PILImage.open(portrait(tmp_path, **provenance.png_metadata(MADE))) as image:
        packet = image.info["XML:com.adobe.xmp"]
    rdf = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
    description = ElementTree.fromstring(packet).find(f"{rdf}RDF/{rdf}Description")
    assert description is not None
    marker = description.get("{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType")
    assert marker == "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"


def test_values_json_cannot_hold_are_refused_on_writing() -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        provenance.png_metadata(Provenance("", "", 0, {"guidance": float("nan")}, {}))


def test_png_without_settings(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"portrait\.png: the PNG has no Diff-PC settings in it"):
        provenance.read_settings(portrait(tmp_path))


def test_a_photo_has_none(astronaut_path: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"astronaut\.jpg: is no PNG"):
        provenance.read_settings(astronaut_path)
    with pytest.raises(InputError, match="cannot be read"):
        provenance.read_settings(tmp_path / "none.png")
    with pytest.raises(InputError, match="cannot be read"):
        provenance.read_settings(tmp_path)


def valid() -> dict[str, object]:
    return json.loads(provenance.png_metadata(MADE)["diffpc"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ('{"seed": NaN}', "not valid JSON"),
        ('{"seed": ' + "9" * 10_000 + "}", "not valid JSON"),
        ("[]", "not an object"),
        ("{}", "have the keys '', not version, prompt, seed"),
        (json.dumps(valid() | {"extra": 1}), "have the keys 'extra, prompt"),
        (json.dumps(valid() | {"seed": "1"}), "wrong type in seed"),
        (json.dumps(valid() | {"seed": True}), "wrong type in seed"),
        (json.dumps(valid() | {"settings": []}), "wrong type in settings"),
        (json.dumps(valid() | {"weights": {"a": 1}}), "wrong type in weights"),
        ("x" * (provenance.MAX_SETTINGS_BYTES + 1), "no Diff-PC settings"),
    ],
)
def test_hostile_settings(tmp_path: Path, text: str, message: str) -> None:
    path = portrait(tmp_path, diffpc=text)
    with pytest.raises(InputError, match=message) as caught:
        provenance.read_settings(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_settings_twice_or_compressed_or_damaged(tmp_path: Path) -> None:
    path = portrait(tmp_path, **provenance.png_metadata(MADE))
    whole = path.read_bytes()
    text = chunk(b"iTXt", b"diffpc\0\0\0\0\0{}")
    path.write_bytes(whole[:33] + text + whole[33:])
    with pytest.raises(InputError, match="more than once"):
        provenance.read_settings(path)
    path.write_bytes(
        whole[:8] + chunk(b"iTXt", b"diffpc\0\1\0\0\0" + zlib.compress(b"{}")) + chunk(b"IEND", b"")
    )
    with pytest.raises(InputError, match="no Diff-PC settings"):
        provenance.read_settings(path)
    path.write_bytes(whole.replace(b'"steps"', b'"stops"'))
    with pytest.raises(InputError, match="wrong checksum"):
        provenance.read_settings(path)


@pytest.mark.parametrize("cut", [0, 7, 12, 50, -12])
def test_truncated_png(tmp_path: Path, cut: int) -> None:
    path = portrait(tmp_path, **provenance.png_metadata(MADE))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(InputError):
        provenance.read_settings(path)
