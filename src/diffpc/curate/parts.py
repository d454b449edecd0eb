"""Parts on disk: what became of some photos, as one Parquet file that appears by one rename.

How long each stage took is in the file's metadata, where it does not make equal tables differ.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from diffpc.errors import InputError
from diffpc.files import atomic_write

_TOLD = b"diffpc"


@dataclass(frozen=True)
class Told:
    """What a part tells of itself."""

    photos: int
    kept: int
    rejects: Mapping[str, int]
    """Reason -> photos."""
    seconds: Mapping[str, float]
    """Stage -> processor seconds."""
    seen: Mapping[str, int]
    """Stage -> photos that entered it."""


def write_part(file: Path, schema: pa.Schema, rows: Sequence[Mapping[str, Any]], told: Told) -> None:
    """Write a part whole or not at all.

    Raises:
        InputError: if the file cannot be written.
    """
    table = pa.Table.from_pylist(list(rows), schema)
    write_table(file, table.replace_schema_metadata({_TOLD: json.dumps(asdict(told))}))


def write_table(file: Path, table: pa.Table) -> None:
    """Write a Parquet file whole or not at all; equal tables give equal bytes.

    Raises:
        InputError: if the file cannot be written.
    """
    with atomic_write(file) as stream:
        pq.write_table(table, stream, compression="zstd")


def read_told(file: Path) -> Told | None:
    """What a part tells of itself; None if there is no such part.

    Raises:
        InputError: if it is damaged.
    """
    if not file.is_file():
        return None
    metadata = cast(Mapping[bytes, bytes], _opened(file).schema_arrow.metadata or {})
    if _TOLD not in metadata:
        raise InputError(f"{file}: is no part of a curation; remove it and run again")
    return Told(**json.loads(metadata[_TOLD]))


def read_columns(file: Path, columns: Sequence[str]) -> pa.Table:
    """Some columns of a table.

    Raises:
        InputError: if the file is missing or damaged.
    """
    try:
        return _opened(file).read(columns=list(columns))
    except (OSError, pa.ArrowException) as error:
        raise _damaged(file, error) from error


def _opened(file: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file)
    except (OSError, pa.ArrowException) as error:
        raise _damaged(file, error) from error


def _damaged(file: Path, error: Exception) -> InputError:
    reason = str(error).splitlines()[0][:160]
    return InputError(f"{file}: is missing or damaged ({reason}); remove it and run again to make it anew")
