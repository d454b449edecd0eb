"""Known files out of a zip that is not trusted."""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from diffpc.errors import InputError
from diffpc.external.asset import File
from diffpc.files import atomic_write

MAX_MEMBERS = 1000
_CHUNK = 1 << 20


def unpack(archive: Path, root: Path, files: Sequence[File]) -> None:
    """Write the files of an archive to their places; what else is in it stays there.

    They are found by their names at any depth. Nothing is written where any member points outside, is a link, or a
    wanted one is encrypted, missing, there twice, or larger than it may be.

    Raises:
        InputError: in these cases, and for a broken archive.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            wanted = _wanted(opened, files, archive)
            for file, member in wanted:
                _extract(opened, member, root / file.place, file.limit)
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError) as error:
        raise InputError(f"{archive}: is no whole zip file ({error}); fetch it again") from error


def _wanted(
    opened: zipfile.ZipFile, files: Sequence[File], archive: Path
) -> list[tuple[File, zipfile.ZipInfo]]:
    members = opened.infolist()
    if len(members) > MAX_MEMBERS:
        raise InputError(
            f"{archive}: holds {len(members)} files, expected at most {MAX_MEMBERS}; fetch it again"
        )
    for member in members:
        _check_harmless(member, archive)
    return [(file, _member(members, file, archive)) for file in files]


def _check_harmless(member: zipfile.ZipInfo, archive: Path) -> None:
    # The name as it is stored: zipfile makes slashes of backslashes on Windows alone.
    name = member.orig_filename.replace("\\", "/")
    outside = name.startswith("/") or ":" in name or ".." in PurePosixPath(name).parts
    if outside or stat.S_ISLNK(member.external_attr >> 16):
        raise InputError(f"{archive}: {member.filename!r} leads out of its folder; do not use this archive")


def _member(members: Sequence[zipfile.ZipInfo], file: File, archive: Path) -> zipfile.ZipInfo:
    found = [one for one in members if not one.is_dir() and PurePosixPath(one.filename).name == file.name]
    if len(found) != 1:
        raise InputError(f"{archive}: holds {len(found)} files {file.name}, expected one; fetch it again")
    size = found[0].file_size
    if size > file.limit or (file.size is not None and size != file.size):
        raise InputError(
            f"{archive}: {file.name} has {size} bytes in it, expected {file.limit}; fetch it again"
        )
    return found[0]


def _extract(opened: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path, limit: int) -> None:
    left = limit  # the length in a member's header is a claim
    with opened.open(member) as source, atomic_write(path) as target:
        while data := source.read(min(_CHUNK, left)):
            target.write(data)
            left -= len(data)
