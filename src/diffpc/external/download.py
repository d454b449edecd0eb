"""One file by HTTPS: resumed where it broke off, bounded, checked before it gets its name."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from diffpc.errors import InputError
from diffpc.external.http import Interrupted, Token, Unsatisfiable, ask
from diffpc.external.partial import Mark, Part, unwritable
from diffpc.external.verify import sha256_of
from diffpc.external.whole import fault_of

Progress = Callable[[int, int | None], None]
"""Called with the bytes so far and in all, if that is known."""

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Manner:
    """How a download behaves where the network does not."""

    attempts: int = 5
    """Tries in a row that bring less than a mebibyte."""
    pause: float = 1.0
    """Seconds before the second try; each further one doubles it."""
    timeout: float = 30.0
    """Seconds without a byte."""


@dataclass(frozen=True)
class Order:
    """What is to be downloaded."""

    url: str
    path: Path
    limit: int
    """No more bytes than this are accepted."""
    size: int | None = None
    """Bytes it must have."""
    sha256: str | None = None
    """What it must be."""
    token: Token | None = None


def download(order: Order, manner: Manner, progress: Progress) -> None:
    """Bring one file; what came before an interruption is kept in FILE.part for the next call.

    Raises:
        InputError: if it cannot be had, is too large, or is another file than expected.
    """
    part, failures = Part(order.path), 0
    while True:
        before = part.size
        try:
            resumed = _receive(order, part, manner, progress)
        except Interrupted as error:
            failures = 1 if part.size - before >= _CHUNK else failures + 1
            if failures >= manner.attempts:
                raise InputError(
                    f"{order.url}: {error}; run it again to go on, or give a --mirror"
                ) from error
            time.sleep(max(error.wait, manner.pause * 2 ** (failures - 1)))
            continue
        fault = _fault(order, part)
        if fault is None:
            part.finish()
            return
        part.discard()
        if not resumed:
            raise InputError(f"{order.url}: {fault}; give a --mirror that has the right one")


def _receive(order: Order, part: Part, manner: Manner, progress: Progress) -> bool:
    """Ask for what is missing and write it; returns whether it went on from an earlier try.

    Raises:
        Interrupted: if it is not whole yet.
    """
    mark = part.mark()
    if mark is not None and part.size == mark.length:
        return True
    headers = {"Range": f"bytes={part.size}-", "If-Range": mark.etag} if mark else {}
    try:
        response = ask(order.url, headers, order.token, manner.timeout)
    except Unsatisfiable as error:
        part.discard()
        raise Interrupted("the server has no such part of it") from error
    with response:
        offset, found = _offset(response, part, mark), _mark(response)
        total = found.length if found.length >= 0 else None
        _check(order, response, total)
        _check_room(order, (total or 0) - offset)
        if not offset:
            part.restart(found if found.etag and total is not None else None)
        _copy(order, response, part, total, progress)
    return offset > 0


def _offset(response: HTTPResponse, part: Part, mark: Mark | None) -> int:
    """Where the answer begins: at the end of the part, or at 0.

    Raises:
        Interrupted: if it begins elsewhere, or is of another version; the part is gone then.
    """
    if response.status != 206:
        return 0
    match = re.fullmatch(r"bytes (\d+)-\d+/\d+", response.headers.get("Content-Range", ""))
    if match is None or int(match[1]) != part.size or _mark(response) != mark:
        part.discard()
        raise Interrupted("the file on the server has changed")
    return part.size


def _mark(response: HTTPResponse) -> Mark:
    """The answer's version; without a tag if the server gives none that is strong, length -1 if it is not told."""
    etag = response.headers.get("ETag", "")
    if not etag or etag.startswith("W/"):
        etag = response.headers.get("Last-Modified", "")
    total = response.headers.get("Content-Range", "").rpartition("/")[2]
    length = total if response.status == 206 else response.headers.get("Content-Length", "")
    return Mark(etag, int(length) if length.isdecimal() else -1)


def _check(order: Order, response: HTTPResponse, total: int | None) -> None:
    """Refuse what the headers show to be another thing."""
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind in ("text/html", "application/xhtml+xml"):
        raise InputError(
            f"{order.url}: the server sends a web page instead; check the address or the --mirror"
        )
    if total is not None and order.size is not None and total != order.size:
        raise InputError(
            f"{order.url}: has {total} bytes on the server, expected {order.size}; give a --mirror that has it"
        )
    if total is not None and total > order.limit:
        raise InputError(f"{order.url}: has {total} bytes, more than the {order.limit} that are accepted")


def _check_room(order: Order, missing: int) -> None:
    try:
        order.path.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(order.path.parent).free
    except OSError as error:
        raise unwritable(order.path.parent, error) from error
    if missing > free:
        raise InputError(
            f"{order.path.parent}: has {free} bytes free and {missing} are needed; make room or set DIFFPC_ASSETS"
        )


def _copy(order: Order, response: HTTPResponse, part: Part, total: int | None, progress: Progress) -> None:
    size = part.size
    progress(size, total)
    with part.open() as stream:
        for chunk in iter(lambda: _read(response), b""):
            size += len(chunk)
            if size > order.limit:
                stream.close()
                part.discard()
                raise InputError(
                    f"{order.url}: the server sends more than {order.limit} bytes; give another --mirror"
                )
            try:
                stream.write(chunk)
            except OSError as error:
                raise unwritable(part.path, error) from error
            progress(size, total)
    if total is not None and size < total:
        raise Interrupted(f"the connection broke after {size} of {total} bytes")


def _read(response: HTTPResponse) -> bytes:
    try:
        return response.read(_CHUNK)
    except (OSError, HTTPException) as error:
        raise Interrupted(f"the connection broke ({error or type(error).__name__})") from error


def _fault(order: Order, part: Part) -> str | None:
    """Why the whole file is not the right one."""
    if order.size is not None and part.size != order.size:
        return f"{part.size} bytes came, expected {order.size}"
    if order.sha256 is None:
        return fault_of(part.path, order.path.name)
    digest = sha256_of(part.path)
    return None if digest == order.sha256 else f"its sha256 is {digest}, expected {order.sha256}"
