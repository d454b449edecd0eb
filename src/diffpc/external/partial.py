"""A download that is not finished: its bytes, and what they are the beginning of."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from diffpc.errors import InputError
from diffpc.files import atomic_write


@dataclass(frozen=True)
class Mark:
    """Which version of a file the server sent; a part goes on only under the same mark."""

    etag: str
    """Strong entity tag, or the date of the last change; never empty."""
    length: int
    """Bytes of the whole file."""


class Part:
    """The bytes that came so far, in FILE.part, with their mark in FILE.part.json."""

    def __init__(self, path: Path) -> None:
        self.target = path
        self.path = path.with_name(f"{path.name}.part")
        self._note = path.with_name(f"{path.name}.part.json")

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self.path.stat().st_size if self.path.is_file() else 0

    def mark(self) -> Mark | None:
        """What the bytes belong to; None if that is not known, or there are none."""
        if not self.size:
            return None
        try:
            noted: dict[str, Any] = json.loads(self._note.read_text(encoding="utf-8"))
            mark = Mark(str(noted["etag"]), int(noted["length"]))
        except (OSError, ValueError, TypeError, LookupError):
            return None
        return mark if mark.etag and self.size <= mark.length else None

    def restart(self, mark: Mark | None) -> None:
        """Begin anew with what the server now has; None if it cannot be told from another version later."""
        self.discard()
        if mark is not None:
            with atomic_write(self._note) as stream:
                stream.write(json.dumps(asdict(mark)).encode())

    def open(self) -> BinaryIO:
        """To append to.

        Raises:
            InputError: if it cannot be written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            return self.path.open("ab")
        except OSError as error:
            raise unwritable(self.path, error) from error

    def finish(self) -> None:
        """Give the file its name.

        Raises:
            InputError: if it cannot be renamed.
        """
        try:
            with self.path.open("rb+") as stream:
                os.fsync(stream.fileno())
            self.path.replace(self.target)
        except OSError as error:
            raise unwritable(self.target, error) from error
        self._note.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove what came so far."""
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)


def unwritable(path: Path, error: OSError) -> InputError:
    """The fault of a file that cannot be written."""
    return InputError(
        f"{path}: cannot be written ({error.strerror or error}); make room or choose DIFFPC_ASSETS"
    )
