"""Where the package's own files are; writing a file or folder whole or not at all."""

import os
import secrets
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import BinaryIO

from diffpc.errors import InputError


def asset(name: str) -> Path:
    """Return the path of a file or folder shipped inside the package.

    Args:
        name: relative to `diffpc/assets`, with forward slashes ("predictor/model.safetensors").

    Raises:
        InputError: if the package does not ship it; the message lists what it ships.
    """
    root = Path(str(files("diffpc") / "assets")).resolve()
    path = (root / name).resolve()
    if not path.is_relative_to(root) or not path.exists():
        shipped = ", ".join(sorted(entry.name for entry in root.iterdir())) if root.is_dir() else ""
        raise InputError(
            f"{name}: not among the files shipped with diffpc ({shipped or 'none'}); reinstall diffpc"
        )
    return path


@contextmanager
def atomic_write(path: Path | str) -> Generator[BinaryIO]:
    """Open a binary stream that becomes `path` when the block ends without an error, and vanishes otherwise.

    The bytes go to a temporary name in the same folder (made if needed), reach the disk, and are then
    renamed: a reader sees the old file or the new one and never half of it.

    Raises:
        InputError: if the folder or the file cannot be written.
    """
    with atomic_path(path) as temporary, _create(temporary) as stream:
        yield stream


@contextmanager
def atomic_path(path: Path | str) -> Generator[Path]:
    """As `atomic_write`, for what is written by name: a name that is free, for a file or a folder.

    A folder replaces a folder, whatever is in it.

    Raises:
        InputError: if it cannot be written.
    """
    path = Path(path)
    temporary = _beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _to_disk(temporary)
        _replace(path, temporary)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error}); choose a folder you may write to"
        ) from error
    finally:
        _discard(temporary)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def _create(path: Path) -> BinaryIO:
    # Not tempfile: it makes files private (0600), and an image that others cannot read surprises everyone.
    # With 0666 the user's umask decides, as for any file they save.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(path, flags, 0o666), "wb")


def _to_disk(path: Path) -> None:
    for file in (one for one in (path, *path.rglob("*")) if one.is_file()):
        with file.open("rb+") as stream:  # Windows syncs no file that is open for reading alone
            os.fsync(stream.fileno())


def _replace(path: Path, new: Path) -> None:
    """Rename `new` to `path`; a folder cannot be renamed onto one that has something in it."""
    if not (new.is_dir() and path.is_dir()):
        new.replace(path)
        return
    old = _beside(path)
    path.rename(old)
    try:
        new.rename(path)
    except OSError:
        old.rename(path)
        raise
    shutil.rmtree(old)


def _discard(path: Path) -> None:
    try:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    except OSError:  # its folder is no folder, or its name is too long: it was never made
        return
