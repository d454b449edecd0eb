"""A web server on this machine that misbehaves as it is told."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ssl import SSLContext


@dataclass
class Site:
    """What is served and how; each list of numbers or codes is used up from its front."""

    files: dict[str, bytes] = field(default_factory=dict)
    etag: str | None = '"one"'
    ranges: bool = True
    conditions: bool = True
    """Whether If-Range is heeded."""
    cut: list[int] = field(default_factory=list)
    """Close the connection after so many bytes of a body."""
    codes: list[int] = field(default_factory=list)
    """Answer these first."""
    announced: int | None = None
    """A length that is not true; the connection is then closed."""
    length: bool = True
    """Whether the length is told at all."""
    kind: str = "application/octet-stream"
    redirects: dict[str, str] = field(default_factory=dict)
    extra: dict[str, str] = field(default_factory=dict)
    url: str = ""
    asked: list[tuple[str, Message]] = field(default_factory=list)
    """Path and headers of every request."""

    def header(self, name: str) -> list[str | None]:
        """That header of every request."""
        return [headers.get(name) for _, headers in self.asked]


class Server(ThreadingHTTPServer):
    """Says nothing of clients that hang up or trust it not: the tests make them."""

    def handle_error(self, request, client_address) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


@contextmanager
def serving(site: Site, secure: SSLContext | None = None) -> Iterator[Site]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.asked.append((self.path, self.headers))
            answer(self, site)

        def log_message(self, *_: object) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    if secure is not None:
        server.socket = secure.wrap_socket(server.socket, server_side=True)
    site.url = f"http{'s' * (secure is not None)}://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def answer(handler: BaseHTTPRequestHandler, site: Site) -> None:
    if site.codes:
        handler.send_error(site.codes.pop(0))
        return
    if handler.path in site.redirects:
        handler.send_response(302)
        handler.send_header("Location", site.redirects[handler.path])
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return
    if handler.path not in site.files:
        handler.send_error(404)
        return
    content, start = site.files[handler.path], begin(handler, site)
    if start is not None and start >= len(content):
        handler.send_error(416)
        return
    handler.send_response(200 if start is None else 206)
    if start is not None:
        handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
    if site.etag is not None:
        handler.send_header("ETag", site.etag)
    handler.send_header("Content-Type", site.kind)
    body = content[start or 0 :]
    if site.length:
        handler.send_header("Content-Length", str(len(body) if site.announced is None else site.announced))
    for name, value in site.extra.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body[: site.cut.pop(0)] if site.cut else body)
    handler.close_connection = True


def begin(handler: BaseHTTPRequestHandler, site: Site) -> int | None:
    """Where the wanted range begins; None for the whole file."""
    wanted = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
    condition = handler.headers.get("If-Range")
    if not site.ranges or wanted is None or (site.conditions and condition not in (None, site.etag)):
        return None
    return int(wanted[1])
