"""Writing a file whole or not at all."""

import os
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from diffpc.errors import InputError


@contextmanager
def atomic_write(path: Path | str) -> Generator[BinaryIO]:
    """Open a binary stream that becomes `path` when the block ends without an error, and vanishes otherwise.

    The bytes go to a temporary name in the same folder (made if needed), reach the disk, and are then
    renamed: a reader sees the old file or the new one and never half of it.

    Raises:
        InputError: if the folder or the file cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _create(temporary) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error}); choose a folder you may write to"
        ) from error
    finally:
        _discard(temporary)


def _create(path: Path) -> BinaryIO:
    # Not tempfile: it makes files private (0600), and an image that others cannot read surprises everyone.
    # With 0666 the user's umask decides, as for any file they save.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(path, flags, 0o666), "wb")


def _discard(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:  # its folder is no folder, or its name is too long: it was never made
        return
