"""sha256 of large files, remembered: a model of SDXL's size is 7 GB, and every portrait says what drew it."""

from __future__ import annotations

import json
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from diffpc.errors import InputError
from diffpc.external.places import assets_root
from diffpc.files import atomic_write
from diffpc.weights import sha256

NAME = "digests.json"
"""In the folder of assets: real path -> [size, times and number of the file, sha256]."""

LEAST = 32 * 2**20
"""Bytes of a file that is remembered; less is hashed in no time."""

KEPT = 1000
"""Files that are remembered, those hashed last."""

MAX_BYTES = 8 * 2**20
"""Of what is remembered; more was not written here."""

SETTLED = 2.0
"""Seconds since a file's last change from which on another change is sure to give it another time."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


def digest(path: Path) -> str:
    """A file's sha256: computed, or what was computed when the file had this size, these times and this number.

    Not for checking what was downloaded: a disk that changes bytes by itself is not noticed.

    Raises:
        InputError: if the file is missing or cannot be read.
    """
    place, before = str(path.resolve()), _state(path)
    if before is None or before[0] < LEAST:
        return sha256(path)
    entry = _remembered().get(place)
    if entry and entry[:-1] == before:
        return str(entry[-1])
    found = sha256(path)
    if _state(path) == before and time.time() - before[1] / 1e9 > SETTLED:
        _remember(place, [*before, found])
    return found


def _state(path: Path) -> list[int] | None:
    """Size, times in nanoseconds of the last change of content and of anything, number; None: it cannot be read.

    The second time changes also where a program sets the first one back.
    """
    try:
        found = path.stat()
    except OSError:
        return None
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def _remembered() -> dict[str, list[Any]]:
    """Nothing, if there is nothing, or it is not as it was written here."""
    path = assets_root() / NAME
    try:
        if path.stat().st_size > MAX_BYTES:
            return {}
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(values, dict):
        return {}
    return {place: entry for place, entry in cast(dict[str, Any], values).items() if _is_entry(entry)}


def _is_entry(entry: Any) -> bool:
    if not isinstance(entry, list) or len(cast(list[Any], entry)) != 5:
        return False
    *state, found = cast(list[Any], entry)
    return all(type(one) is int for one in state) and bool(_SHA256.fullmatch(str(found)))


def _remember(place: str, entry: list[Any]) -> None:
    """What others remembered meanwhile stays; who loses a race hashes once more."""
    others = [(name, one) for name, one in _remembered().items() if name != place]
    entries = dict([*others, (place, entry)][-KEPT:])
    with suppress(InputError), atomic_write(assets_root() / NAME) as stream:  # the folder may be read-only
        stream.write(json.dumps(entries).encode())
