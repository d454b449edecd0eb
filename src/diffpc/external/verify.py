"""What is there of an asset, and whether it is the right thing."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from diffpc.external.asset import Asset, File
from diffpc.external.places import located
from diffpc.external.whole import fault_of

State = Literal["absent", "incomplete", "present", "ok", "present, hash unknown", "wrong"]
"""Of one file or an asset. "present": the size agrees, nothing was hashed. "incomplete": some files of several."""


@dataclass(frozen=True)
class Finding:
    """One file, looked at."""

    file: File
    path: Path
    state: State
    detail: str = ""
    """What is wrong."""


def look(asset: Asset, root: Path) -> tuple[Finding, ...]:
    """What is there, by sizes and beginnings alone: quick."""
    return tuple(_looked(file, located(file, root)) for file in asset.files)


def verify(asset: Asset, root: Path) -> tuple[Finding, ...]:
    """What is there, by hashes where they are known. A file without a known hash never becomes "ok"."""
    return tuple(verified(file, located(file, root)) for file in asset.files)


def verified(file: File, path: Path) -> Finding:
    """One file by its hash, where it lies."""
    return _hashed(_looked(file, path))


def overall(findings: Sequence[Finding]) -> State:
    """The state of all files together: the worst, or "incomplete" if some are absent."""
    states: set[State] = {found.state for found in findings}
    if "wrong" in states:
        return "wrong"
    if "absent" in states:
        return "absent" if states == {"absent"} else "incomplete"
    return next(state for state in ("present, hash unknown", "present", "ok") if state in states)


def sha256_of(path: Path) -> str:
    """Return the file's SHA-256 as 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _looked(file: File, path: Path) -> Finding:
    if not path.exists():
        return Finding(file, path, "absent")
    if not path.is_file():
        return Finding(file, path, "wrong", "is no file")
    fault = fault_of(path) or _size_fault(file, path.stat().st_size)
    return Finding(file, path, "wrong", fault) if fault else Finding(file, path, "present")


def _size_fault(file: File, size: int) -> str | None:
    if file.size is None or size == file.size:
        return None
    return (
        f"is cut short: {size} of {file.size} bytes"
        if size < file.size
        else (f"has {size} bytes, expected {file.size}")
    )


def _hashed(found: Finding) -> Finding:
    if found.state != "present":
        return found
    if found.file.sha256 is None:
        return Finding(found.file, found.path, "present, hash unknown")
    try:
        digest = sha256_of(found.path)
    except OSError as error:
        return Finding(found.file, found.path, "wrong", f"cannot be read ({error.strerror or error})")
    if digest == found.file.sha256:
        return Finding(found.file, found.path, "ok")
    wrong = f"is another file: its sha256 is {digest}, expected {found.file.sha256}"
    return Finding(found.file, found.path, "wrong", wrong)
