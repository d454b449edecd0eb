"""JSON Lines that survive a kill, and JSON objects."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from diffpc.errors import InputError
from diffpc.files import atomic_write


def append_line(path: Path, values: Mapping[str, Any]) -> None:
    """Add one record.

    Raises:
        InputError: if the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torn = _ends_torn(path)
        with path.open("a", encoding="utf-8") as stream:
            # A kill may have torn the last line: ours begins a new one.
            stream.write(("\n" if torn else "") + json.dumps(values, sort_keys=True) + "\n")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error}); free the place") from error


def read_lines(path: Path) -> list[dict[str, Any]]:
    """All whole records; none if there is no file. What a kill tore is left out."""
    if not path.is_file():
        return []
    found: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            values = json.loads(line)
        except ValueError:
            continue
        if isinstance(values, dict):
            found.append(cast(dict[str, Any], values))
    return found


def write_json(path: Path, values: Any) -> None:
    """Write one JSON value, whole or not at all; the same value gives the same bytes.

    Raises:
        InputError: if the file cannot be written.
    """
    with atomic_write(path) as stream:
        stream.write((json.dumps(values, indent=1, sort_keys=True, allow_nan=False) + "\n").encode())


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """Read one JSON object.

    Raises:
        InputError: if it is missing or is none; the message ends with the remedy.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read ({error}); {remedy}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: is not a JSON object; {remedy}")
    return cast(dict[str, Any], values)


def _ends_torn(path: Path) -> bool:
    """Whether the last line has no end."""
    if not path.is_file() or path.stat().st_size == 0:
        return False
    with path.open("rb") as stream:
        stream.seek(-1, 2)
        return stream.read(1) != b"\n"
