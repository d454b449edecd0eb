"""Files of the hub that Hugging Face's own tools have already downloaded."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from diffpc.external.asset import File, Hub
from diffpc.external.partial import unwritable
from diffpc.external.places import hub_cache
from diffpc.files import atomic_path


def cached(source: Hub, file: File) -> Path | None:
    """Where the cache holds a file; None if it does not, or the library that reads it is not installed."""
    try:
        from huggingface_hub import (
            try_to_load_from_cache,
        )  # half a second, and only for what is to be fetched
        from huggingface_hub.errors import HFValidationError
    except ImportError:
        return None
    with suppress(HFValidationError, OSError):
        found = try_to_load_from_cache(source.repository, file.origin, hub_cache(), source.revision)
        return Path(found) if isinstance(found, str) else None
    return None


def place(found: Path, path: Path) -> None:
    """Give a file of the cache its place here: a second name where the disk allows it, else a copy.

    A second name takes no room and outlives the cache.

    Raises:
        InputError: if it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.link")
        beside.unlink(missing_ok=True)
        os.link(found.resolve(), beside)  # the cache's own name is a symbolic link
        beside.replace(path)
    except OSError as error:
        if not path.parent.is_dir():
            raise unwritable(path, error) from error
        with atomic_path(path) as temporary:
            shutil.copyfile(found, temporary)
