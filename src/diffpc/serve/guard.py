"""What every request passes before anything else looks at it: size, host, key, other origins."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from diffpc.errors import InputError

KEYS_VARIABLE = "DIFFPC_API_KEYS"
"""Keys, separated by commas or white space."""

SHORTEST_KEY = 16
"""Characters; a shorter key can be guessed."""

MAX_KEYS_FILE = 2**20

OPEN = ("/healthz", "/readyz")
"""Paths that need no key: what watches over the service has none."""


@dataclass(frozen=True)
class ApiKeys:
    """The keys of a service, as hashes."""

    hashes: tuple[bytes, ...]

    def __contains__(self, key: str) -> bool:
        """Whether it is one of them; takes the same time for every answer."""
        given = _hash(key)
        return any([hmac.compare_digest(given, one) for one in self.hashes])


def read_keys(path: Path | None, environment: str | None) -> ApiKeys:
    """Keys from a file with one per line (# begins a comment), and from the environment's variable.

    Raises:
        InputError: if the file cannot be read, or a key is too short.
    """
    words = (environment or "").replace(",", " ").split()
    if path is not None:
        try:
            with path.open(encoding="utf-8") as stream:
                lines = stream.read(MAX_KEYS_FILE).splitlines()
        except (OSError, ValueError) as error:
            raise InputError(
                f"{path}: cannot be read ({error}); give a text file with one key per line"
            ) from error
        words += [word for line in lines if (word := line.partition("#")[0].strip())]
        if not words:
            raise InputError(f"{path}: has no key in it; write one per line")
    if short := [word for word in words if len(word) < SHORTEST_KEY]:
        raise InputError(
            f"an API key has {len(short[0])} characters; give at least {SHORTEST_KEY}, say from `openssl rand -hex 32`"
        )
    return ApiKeys(tuple(_hash(word) for word in words))


class Guard:
    """ASGI middleware: refuses bodies that are too large while they come, and requests without a key."""

    def __init__(self, app: ASGIApp, keys: ApiKeys, body_bytes: int, guarded: Sequence[str]) -> None:
        """Wrap an app.

        Args:
            app: what is wrapped.
            keys: who may use it; none means everyone.
            body_bytes: of one request.
            guarded: beginnings of the paths that are looked at; the page has its own rules.
        """
        self._app, self._keys, self._most, self._guarded = app, keys, body_bytes, tuple(guarded)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http" or not scope["path"].startswith(self._guarded):
            await self._app(scope, receive, send)
            return
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        if self._keys.hashes and scope["path"] not in OPEN and not self._admitted(headers):
            await _refuse(send, 401, "no valid API key; send the header Authorization: Bearer KEY")
            return
        length = headers.get("content-length", "0")
        if not length.isdecimal() or not length.isascii():
            await _refuse(send, 400, "Content-Length is no number; leave it to the HTTP library")
            return
        if len(length) > 18 or int(length) > self._most:
            await _refuse(send, 413, self._too_large)
            return
        await self._counted(scope, receive, send)

    @property
    def _too_large(self) -> str:
        return f"the body is over this service's limit of {self._most / 2**20:g} MiB; shrink the photos"

    def _admitted(self, headers: dict[str, str]) -> bool:
        kind, _, key = headers.get("authorization", "").partition(" ")
        return kind.lower() == "bearer" and key.strip() in self._keys

    async def _counted(self, scope: Scope, receive: Receive, send: Send) -> None:
        received, refused, begun = 0, False, False

        async def counted() -> Message:
            nonlocal received, refused
            message = await receive()
            received += len(message.get("body", b"")) if message["type"] == "http.request" else 0
            if received <= self._most:
                return message
            refused = True
            return {"type": "http.disconnect"}

        async def told(message: Message) -> None:
            nonlocal begun
            if not refused or begun:
                begun = begun or message["type"] == "http.response.start"
                await send(message)

        await self._app(scope, counted, told)
        if refused and not begun:
            await _refuse(send, 413, self._too_large)


async def _refuse(send: Send, status: int, detail: str) -> None:
    body = json.dumps({"detail": detail}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(b"connection", b"close")]  # the rest of the body is not read
    if status == 401:
        headers += [(b"www-authenticate", b"Bearer")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
