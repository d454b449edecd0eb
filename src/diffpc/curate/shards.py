"""The set on disk: img2dataset's layout, a table beside each shard, and an index of persons.

{shard:05d}.tar holds KEY.jpg, KEY.json and KEY.txt, KEY being the shard's five digits and the photo's four in it;
{shard:05d}.parquet holds every field. Photos are sorted by person, so that same-person pairs lie close together.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from time import process_time
from typing import Any

import pyarrow as pa

from diffpc.curate.parts import Told, read_columns, read_told, write_part
from diffpc.curate.rows import PHOTO_FIELDS
from diffpc.files import atomic_write

SHARD_FIELDS = pa.schema(
    [("key", pa.string()), *PHOTO_FIELDS, ("similarity", pa.float32()), ("captions", pa.list_(pa.string()))]
)

TOLD_IN_JSON = ("source_key", "url", "sha256", "face_box", "quality", "yaw", "pitch", "roll")
"""Fields that the small JSON beside each photo repeats."""


@dataclass(frozen=True)
class Entry:
    """A photo of the set: where it lies in the work folder."""

    part: Path
    row: int
    captions: Path
    """The part's captions."""
    caption_row: int
    similarity: float


@dataclass(frozen=True)
class Shard:
    """Some photos, and the shard that holds them; see `engine.Job`."""

    folder: Path
    number: int
    size: int
    """Side of the pictures."""
    entries: tuple[Entry, ...]

    @property
    def file(self) -> Path:
        """Its table, written after the tar."""
        return self.folder / f"{self.number:05d}.parquet"

    def done(self) -> Told | None:
        """What was told before."""
        return read_told(self.file) if self.file.with_suffix(".tar").is_file() else None

    def make(self) -> Told:
        """Write the tar, then the table.

        Raises:
            InputError: if a part is damaged or the shard cannot be written.
        """
        return self.done() or self._make()

    def _make(self) -> Told:
        since = process_time()
        table: list[dict[str, Any]] = []
        with (
            atomic_write(self.file.with_suffix(".tar")) as stream,
            tarfile.open(fileobj=stream, mode="w") as tar,
        ):
            for index, entry in enumerate(self.entries):
                row = {"key": f"{self.number:05d}{index:04d}", **_row(entry)}
                for suffix, content in _members(row, self.size):
                    member = tarfile.TarInfo(row["key"] + suffix)  # time, owner and mode are the same always
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
                del row["picture"]
                table.append(row)
        count = len(self.entries)
        told = Told(count, count, {}, {"write": round(process_time() - since, 4)}, {"write": count})
        write_part(self.file, SHARD_FIELDS, table, replace(told, seconds={}))  # equal sets, equal bytes
        return told


def cut_shards(entries: Sequence[Entry], folder: Path, size: int, photos: int) -> list[Shard]:
    """Deal the photos out, `photos` to a shard; only the last has fewer."""
    starts = range(0, len(entries), photos)
    return [
        Shard(folder, number, size, tuple(entries[start : start + photos]))
        for number, start in enumerate(starts)
    ]


def persons_of(shards: Sequence[Shard]) -> dict[str, list[str]]:
    """Person -> keys, of shards that were made."""
    persons: dict[str, list[str]] = {}
    for shard in shards:
        columns = read_columns(shard.file, ("key", "person"))
        for key, person in zip(columns["key"].to_pylist(), columns["person"].to_pylist(), strict=True):
            persons.setdefault(person, []).append(key)
    return persons


def _members(row: Mapping[str, Any], size: int) -> Iterator[tuple[str, bytes]]:
    captions: list[str] = row["captions"]
    values = {
        "key": row["key"],
        "person": row["person"],
        "caption": captions if len(captions) > 1 else "".join(captions),
        "status": "success",
        "width": size,
        "height": size,
        "original_width": row["photo_size"][0],
        "original_height": row["photo_size"][1],
        **{name: row[name] for name in TOLD_IN_JSON},
        "similarity": None if row["similarity"] is None else round(row["similarity"], 4),
    }
    yield ".jpg", row["picture"]
    yield ".txt", "".join(captions[:1]).encode()
    yield ".json", json.dumps(values, sort_keys=True, ensure_ascii=False).encode()


def _row(entry: Entry) -> dict[str, Any]:
    captions = _table(entry.captions, ("captions",))["captions"][entry.caption_row].as_py()
    values = _table(entry.part, (*PHOTO_FIELDS.names, "picture")).slice(entry.row, 1).to_pylist()[0]
    return {**values, "similarity": entry.similarity, "captions": captions}


@lru_cache(maxsize=8)
def _table(file: Path, columns: tuple[str, ...]) -> pa.Table:
    """Photos of a person lie in few parts: those last read are kept in memory."""
    return read_columns(file, columns)
