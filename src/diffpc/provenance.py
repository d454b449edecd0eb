"""What a portrait says about itself: the settings that replay it, and the mark of an AI-generated image."""

import json
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Never, cast

from diffpc.errors import InputError

KEYWORD = "diffpc"
XMP_KEYWORD = "XML:com.adobe.xmp"
MAX_SETTINGS_BYTES = 256 * 2**10

DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""IPTC's term for media made by a trained model (IPTC Photo Metadata Standard, Digital Source Type)."""

_KINDS = {"version": str, "prompt": str, "seed": int, "settings": dict, "weights": dict}
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_REPLAY = "give a PNG that `diffpc generate` wrote"

# The packet's id is fixed by the XMP specification, part 1, 7.3.2.
_XMP = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
    ' <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n'
    '  <rdf:Description rdf:about=""\n'
    '    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"\n'
    f'    Iptc4xmpExt:DigitalSourceType="{DIGITAL_SOURCE_TYPE}"/>\n'
    " </rdf:RDF>\n"
    "</x:xmpmeta>\n"
    '<?xpacket end="r"?>'
)


@dataclass(frozen=True)
class Provenance:
    """How a portrait was made."""

    version: str
    """Of Diff-PC."""
    prompt: str
    """The text."""
    seed: int
    """Of this image."""
    settings: dict[str, Any]
    """Whatever else replays it, JSON values only. Whoever gets the image can read it: no private paths."""
    weights: dict[str, str]
    """Name of a weight file -> its sha256."""


def png_metadata(provenance: Provenance) -> dict[str, str]:
    """Return the texts that mark a portrait, for `images.write_png`: its settings and the AI marker.

    The same provenance gives the same texts.
    """
    # ASCII: a prompt from the command line may hold bytes that are no UTF-8.
    text = json.dumps(asdict(provenance), sort_keys=True, allow_nan=False, ensure_ascii=True)
    return {KEYWORD: text, XMP_KEYWORD: _XMP}


def read_settings(path: Path | str) -> Provenance:
    """Return how the portrait at `path` was made.

    Raises:
        InputError: if the file is no PNG, has no settings in it, or they are malformed.
    """
    try:
        with Path(path).open("rb") as stream:
            return settings_in(stream, str(path))
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise InputError(f"{path}: cannot be read ({error}); {_REPLAY}") from error


def settings_in(stream: BinaryIO | BytesIO, name: str) -> Provenance:
    """As `read_settings`, of an open file that messages call `name`."""
    texts = [text for keyword, text in _texts(stream, name) if keyword == KEYWORD.encode()]
    if len(texts) != 1:
        found = "no Diff-PC settings" if not texts else "Diff-PC settings more than once"
        raise InputError(
            f"{name}: the PNG has {found} in it (some programs strip them when saving); {_REPLAY}"
        )
    return _parse(texts[0], name)


def _texts(stream: BinaryIO | BytesIO, path: str) -> Iterator[tuple[bytes, bytes]]:
    """Yield keyword and raw text of the uncompressed iTXt chunks, without touching the pixels."""
    if stream.read(len(_SIGNATURE)) != _SIGNATURE:
        raise InputError(f"{path}: is no PNG; {_REPLAY}")
    for kind, data in _chunks(stream, path):
        keyword, _, rest = data.partition(b"\0")
        # compression flag and method, then language and translated keyword, each ended by a zero byte
        parts = rest[2:].split(b"\0", 2)
        if kind == b"iTXt" and rest[:1] == b"\0" and len(parts) == 3:
            yield keyword, parts[2]


def _chunks(stream: BinaryIO | BytesIO, path: str) -> Iterator[tuple[bytes, bytes]]:
    """Yield type and data of each chunk up to IEND; data is empty for those that are not short texts."""
    while True:
        header = stream.read(8)
        if len(header) < 8:
            raise InputError(f"{path}: the PNG is cut short; {_REPLAY}")
        length, kind = struct.unpack(">I4s", header)
        if kind == b"IEND":
            return
        if kind == b"iTXt" and length <= MAX_SETTINGS_BYTES:
            data = stream.read(length)
            if stream.read(4) != struct.pack(">I", zlib.crc32(kind + data)):
                raise InputError(f"{path}: the PNG's text is damaged (wrong checksum); {_REPLAY}")
            yield kind, data
        else:
            stream.seek(length + 4, 1)
            yield kind, b""


def _parse(text: bytes, path: str) -> Provenance:
    try:
        values = json.loads(text.decode("utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:  # ValueError: no JSON, no UTF-8, a number of absurd length
        raise InputError(f"{path}: its Diff-PC settings are not valid JSON ({error}); {_REPLAY}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: its Diff-PC settings are not an object; {_REPLAY}")
    return _provenance(cast(dict[str, Any], values), path)


def _refuse_constant(name: str) -> Never:
    raise ValueError(f"{name} is not JSON")


def _provenance(values: Mapping[str, Any], path: str) -> Provenance:
    names = [field.name for field in fields(Provenance)]
    if sorted(values) != sorted(names):
        found = ", ".join(sorted(values))[:200]
        expected = ", ".join(names)
        raise InputError(f"{path}: its Diff-PC settings have the keys {found!r}, not {expected}; {_REPLAY}")
    wrong = [name for name, kind in _KINDS.items() if type(values[name]) is not kind]  # a bool is no seed
    if not wrong and not all(isinstance(digest, str) for digest in values["weights"].values()):
        wrong = ["weights"]
    if wrong:
        raise InputError(f"{path}: its Diff-PC settings have a wrong type in {', '.join(wrong)}; {_REPLAY}")
    return Provenance(**values)
