"""Where photos come from: a folder per person, shards, or a table of names and addresses."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from diffpc.curate.record import Box, Listed
from diffpc.errors import InputError
from diffpc.photos import read_photos

IMDB_COLUMNS = ("name", "index", "image", "rect", "height width", "url")
"""Of IMDb-Face.csv: index is the person's id, rect is "x1 y1 x2 y2" in a photo of "height width"."""

LINK_COLUMNS = ("name", "url")
"""Of a plain table; further columns are not read."""

MAX_ADDRESS = 4096
"""Characters of an address."""


@dataclass(frozen=True)
class Link:
    """A photo to download."""

    row: int
    """In the table, counted from 1."""
    person: str
    url: str
    rect: Box | None = None
    rect_frame: tuple[int, int] | None = None

    @property
    def key(self) -> str:
        """Unique in the table."""
        return f"{self.row:09d}"


def list_photos(source: Path, attributes: Path | None = None) -> list[Listed]:
    """The photos of a folder of persons or of shards, in an order that depends on names alone.

    Args:
        source: see `diffpc.photos.read_photos`.
        attributes: a table with a column image or photo (path below `source`, or file name) and any others.

    Raises:
        InputError: if the folder or the table is damaged.
    """
    known = read_attributes(attributes) if attributes else {}
    listed = [
        Listed(
            photo.key, photo.person, str(photo.file.absolute()), photo.size, photo.offset, attributes=found
        )
        for photo in read_photos(source)
        for found in [known.get(photo.key) or known.get(PurePosixPath(photo.key).name) or {}]
    ]
    if attributes and not any(photo.attributes for photo in listed):
        raise InputError(f"{attributes}: names no photo of {source}; write paths like {listed[0].key!r}")
    return listed


def read_attributes(file: Path) -> Mapping[str, Mapping[str, str]]:
    """Photo -> column -> what the table says, without empty cells.

    Raises:
        InputError: if it cannot be read or has no column of photos.
    """
    found: dict[str, Mapping[str, str]] = {}
    for number, row in _rows(file):
        name = row.pop("image", None) or row.pop("photo", None)
        if not name:
            raise InputError(f"{file}: row {number} names no photo; the table needs a column image or photo")
        found[PurePosixPath(name).as_posix()] = {column: cell for column, cell in row.items() if cell}
    return found


def read_links(file: Path) -> list[Link]:
    """The rows of IMDb-Face.csv, or of a table with the columns name and url.

    Raises:
        InputError: if it cannot be read, or a row is damaged.
    """
    return [_link(file, number, row) for number, row in _rows(file)]


def is_table(source: Path) -> bool:
    """Whether the source is a table of addresses."""
    return source.suffix.lower() == ".csv" and source.is_file()


def downloaded(links: Sequence[Link], files: Mapping[str, Path]) -> list[Listed]:
    """The links whose photo there is, as photos.

    Args:
        links: of the table.
        files: key -> photo.
    """
    return [
        replace(
            Listed(link.key, link.person, str(file.absolute()), file.stat().st_size, address=link.url),
            rect=link.rect,
            rect_frame=link.rect_frame,
        )
        for link in links
        if (file := files.get(link.key))
    ]


def _link(file: Path, number: int, row: Mapping[str, str]) -> Link:
    place = f"{file}: row {number}"
    name, url = row.get("name", ""), row.get("url", "").strip()
    if not name or not url or len(url) > MAX_ADDRESS:
        raise InputError(f"{place} lacks a name or an address; the columns are name, url or IMDb-Face's six")
    if "rect" not in row:
        return Link(number, name, url)
    x0, y0, x1, y1 = _numbers(row["rect"], 4, f"{place}: rect")
    height, width = (int(side) for side in _numbers(row.get("height width", ""), 2, f"{place}: height width"))
    if not (x0 < x1 and y0 < y1 and height > 0 and width > 0):
        raise InputError(f"{place} has an empty rectangle or photo; write x1 y1 x2 y2 and height width")
    # A name may be borne by several persons; the index is the film site's own.
    person = row.get("index") or name
    return Link(number, person, url, (x0, y0, x1, y1), (width, height))


def _numbers(cell: str, count: int, place: str) -> list[float]:
    try:
        values = [float(word) for word in cell.split()]
    except ValueError:
        values = []
    if len(values) != count:
        raise InputError(f"{place} is {cell!r}, expected {count} numbers; download the table again")
    return values


def _rows(file: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Number (from 1) and cells of each row."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            for number, row in enumerate(csv.DictReader(stream, strict=True), start=1):
                if None in row:
                    raise InputError(f"{file}: row {number} has more cells than columns; write it again")
                yield number, {str(name).strip(): cell or "" for name, cell in row.items()}
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{file}: cannot be read as a table ({error}); write it again as CSV") from error
