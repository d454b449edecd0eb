"""What can be told of a file without knowing its hash: cut short, a pointer, a web page."""

from __future__ import annotations

import json
import struct
import zipfile
from pathlib import Path
from typing import Any, cast

_MAX_HEADER = 100 * 2**20
"""Bytes; safetensors' own bound."""

_PAGES = (b"<!doctype", b"<html", b"<?xml")


def fault_of(path: Path, name: str | None = None) -> str | None:
    """Why a file cannot be what its name says, or `name`; None if nothing speaks against it.

    Safetensors files are held against their own header, which tells their length; PyTorch's zip files must have their
    end. Others are looked at only for what downloads leave behind in their place.
    """
    try:
        with path.open("rb") as stream:
            start = stream.read(64)
            if not start:
                return "is empty"
            if start.startswith(b"version https://git-lfs"):
                return "is a Git LFS pointer, not the file"
            if start.lstrip().lower().startswith(_PAGES):
                return "is a web page, not the file"
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    if (name or path.name).endswith(".safetensors"):
        return _safetensors_fault(path)
    if start.startswith(b"PK\x03\x04") and not zipfile.is_zipfile(path):
        return "is cut short: a zip file without its end"
    return None


def _safetensors_fault(path: Path) -> str | None:
    size = path.stat().st_size
    with path.open("rb") as stream:
        first = stream.read(8)
        length = struct.unpack("<Q", first)[0] if len(first) == 8 else 0
        if not 2 <= length <= _MAX_HEADER:
            return "is no safetensors file"
        text = stream.read(length)
    if len(text) < length:
        return f"is cut short: {size} bytes do not hold its header of {length}"
    try:
        expected = 8 + length + _end(json.loads(text))
    except (ValueError, TypeError, AttributeError, LookupError, RecursionError):
        return "is no safetensors file: its header cannot be read"
    if size < expected:
        return f"is cut short: {size} of {expected} bytes"
    return f"has {size - expected} bytes too many" if size > expected else None


def _end(header: dict[str, Any]) -> int:
    """Where the last tensor ends, from the end of the header."""
    tensors = [cast(dict[str, Any], one) for name, one in header.items() if name != "__metadata__"]
    return max((int(one["data_offsets"][1]) for one in tensors), default=0)
