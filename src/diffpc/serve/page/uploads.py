"""Photos on their way from the browser into the page: in memory only, bounded, and taken once."""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, TypeAlias

from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse

from diffpc.errors import InputError, UsageError

MAX_WAITING = 16
"""Uploads that wait to be taken; of more the oldest goes."""

SECONDS = 120.0
"""How long an upload waits; the page takes it within the second."""

UPLOADS = "/page/uploads"
"""Where the page's script puts a file."""

_Scope: TypeAlias = MutableMapping[str, Any]
_Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
_App: TypeAlias = Callable[[_Scope, _Receive, _Send], Awaitable[None]]

ALLOWED = (
    "/assets/", "/config", "/favicon.ico", "/gradio_api/cancel", "/gradio_api/heartbeat/", "/gradio_api/info",
    "/gradio_api/queue/", "/gradio_api/reset", "/gradio_api/run/", "/gradio_api/startup-events",
    "/gradio_api/theme.css", "/manifest.json", "/robots.txt", "/static/", "/svelte/", "/theme.css",
)  # fmt: skip
"""Beginnings of the paths of Gradio that this page needs, besides its root."""


@dataclass(frozen=True)
class Upload:
    """A file as it came."""

    name: str
    data: bytes
    arrived: float
    """By `time.monotonic`."""


@dataclass
class Tray:
    """Uploads between their arrival and the event that takes them; safe between threads."""

    _waiting: dict[str, Upload] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def put(self, name: str, data: bytes) -> str:
        """Keep a file; return the token that takes it."""
        token, now = secrets.token_urlsafe(18), time.monotonic()
        with self._lock:
            fresh = [(key, one) for key, one in self._waiting.items() if now - one.arrived < SECONDS]
            self._waiting = dict(fresh[-(MAX_WAITING - 1) :])
            self._waiting[token] = Upload(name, data, now)
        return token

    def take(self, token: object) -> Upload:
        """The file of a token; it is gone from the tray.

        Raises:
            InputError: if it is not there (any more).
        """
        with self._lock:
            found = self._waiting.pop(token, None) if isinstance(token, str) else None
        if found is None or time.monotonic() - found.arrived >= SECONDS:
            raise InputError("The photo did not arrive in time. Drop it again.")
        return found


def add_uploads(app: FastAPI, tray: Tray, max_bytes: int) -> None:
    """Give `app` the route that the page's script sends files to; a body over `max_bytes` is cut off."""

    @app.post(UPLOADS, include_in_schema=False)
    async def upload(request: Request, name: str = "photo") -> Response:  # pyright: ignore[reportUnusedFunction] - a route
        try:
            return PlainTextResponse(tray.put(clean_name(name), await _body(request, max_bytes)))
        except UsageError as error:
            return PlainTextResponse(str(error), status_code=413)


def clean_name(name: str) -> str:
    """A file's name for messages: no folders, no control characters, not too long."""
    plain = "".join(letter for letter in name.replace("\\", "/").rpartition("/")[2] if letter.isprintable())
    return plain[-80:] or "photo"


async def _body(request: Request, max_bytes: int) -> bytes:
    parts: list[bytes] = []
    length = 0
    async for part in request.stream():
        length += len(part)
        if length > max_bytes:
            raise UsageError(f"The file is over the limit of {max_bytes / 2**20:.0f} MiB. Shrink it.")
        parts.append(part)
    return b"".join(parts)


class Gate:
    """ASGI middleware: of Gradio's routes only those that this page needs.

    Gradio also serves uploads to a folder, files by path and URLs by proxy; none of them is needed here, and no
    path or URL from a client is to be opened.
    """

    def __init__(self, app: _App) -> None:
        self.app = app

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Pass a request on, or answer 404."""
        if scope["type"] != "http" or allowed(scope["path"].removeprefix(scope.get("root_path", ""))):
            await self.app(scope, receive, send)
        else:
            await PlainTextResponse("not found", status_code=404)(scope, receive, send)


def allowed(path: str) -> bool:
    """Whether the page needs that path below Gradio's mount."""
    return path in ("", "/") or path.startswith(ALLOWED)
