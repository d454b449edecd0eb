"""One photo from the network, with manners and limits.

Every host name is resolved here, every address is checked, and the connection goes to the very address that was
checked: a name that resolves to another address a moment later gains nothing. Redirects are followed by hand, each
like a first request.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from urllib.parse import SplitResult, urljoin, urlsplit

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError
from urllib3.response import HTTPResponse

from diffpc.curate.settings import DownloadSettings

FORBIDDEN = ("noai", "noimageai", "noindex", "noimageindex")
"""Words of X-Robots-Tag that forbid the photo; those that img2dataset heeds."""

CHUNK = 65536

_REDIRECTS = (301, 302, 303, 307, 308)
_PORTS = {"http": 80, "https": 443}


class Refused(Exception):
    """A photo that cannot or must not be had; the message says why."""


@dataclass(frozen=True)
class Answer:
    """What a server sent."""

    status: int
    content: bytes
    """Empty unless the status is 200."""
    location: str = ""
    """Of a redirect."""


@dataclass(frozen=True)
class Target:
    """Where a request goes."""

    parts: SplitResult
    host: str
    port: int
    address: str
    """The host's, checked."""

    @property
    def origin(self) -> str:
        """Scheme, host and port: what robots.txt speaks for."""
        return f"{self.parts.scheme}://{self.parts.netloc}"


def target_of(url: str, settings: DownloadSettings) -> Target:
    """Resolve and check an address.

    Raises:
        Refused: if it is no http address, cannot be resolved, or any address of the host is not public.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError as error:
        raise Refused(f"no address ({error})") from error
    if parts.scheme not in _PORTS or not host or parts.username is not None:
        raise Refused("no plain http or https address")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Refused(f"{host} cannot be resolved ({error})") from error
    addresses = [str(entry[4][0]) for entry in found]
    private = [address for address in addresses if not is_public(address)]
    if private and not settings.private:
        raise Refused(f"{host} has the private address {private[0]}")
    return Target(parts, host, port, addresses[0])


def is_public(address: str) -> bool:
    """Whether an IP address is one of the open internet, also where IPv6 wraps an IPv4 address."""
    parsed = ipaddress.ip_address(address.split("%")[0])
    inner = getattr(parsed, "ipv4_mapped", None) or getattr(parsed, "sixtofour", None)
    return (inner or parsed).is_global and not parsed.is_multicast


def ask(target: Target, most: int, end: float, settings: DownloadSettings) -> Answer:
    """One request, without redirects.

    Args:
        target: of `target_of`.
        most: bytes.
        end: on the monotonic clock, after which the server is given up.
        settings: timeouts and name.

    Raises:
        Refused: if the server is slow, silent or broken, sends too much, or forbids the use.
    """
    connection = _connection(target, settings)
    path = target.parts.path or "/"
    query = f"?{target.parts.query}" if target.parts.query else ""
    headers = {"Host": target.parts.netloc, "User-Agent": settings.agent, "Accept-Encoding": "identity"}
    # A server that drips its headers would never run into the timeout between two bytes.
    watch = threading.Timer(max(0.0, end - time.monotonic()), _cut, [connection])
    watch.start()
    try:
        connection.request("GET", path + query, headers=headers, preload_content=False)
        return _answer(connection.getresponse(), most, end, settings)
    except (HTTPError, HTTPException, OSError, ValueError) as error:
        late = f"not done within {settings.deadline:g} s; " if time.monotonic() >= end else ""
        raise Refused(f"{late}{type(error).__name__}: {str(error)[:160]}") from error
    finally:
        watch.cancel()
        connection.close()


def redirected(url: str, answer: Answer) -> str:
    """Where a redirect leads; empty if the answer is none."""
    return urljoin(url, answer.location) if answer.status in _REDIRECTS and answer.location else ""


def _connection(target: Target, settings: DownloadSettings) -> HTTPConnection:
    """To the checked address; it speaks, and checks certificates, for the host's name."""
    if target.parts.scheme == "http":
        return HTTPConnection(target.address, target.port, timeout=settings.timeout)
    return HTTPSConnection(
        target.address,
        target.port,
        timeout=settings.timeout,
        assert_hostname=target.host,
        server_hostname=target.host,
    )


def _cut(connection: HTTPConnection) -> None:
    """End a connection from outside: whoever waits for it gets an error."""
    with suppress(OSError, AttributeError):  # it may have ended by itself, or never begun
        connection.sock.shutdown(socket.SHUT_RDWR)  # pyright: ignore[reportOptionalMemberAccess] - see above


def _answer(response: HTTPResponse, most: int, end: float, settings: DownloadSettings) -> Answer:
    if response.status != 200:
        return Answer(response.status, b"", response.headers.get("Location", ""))
    for tag in response.headers.getlist("X-Robots-Tag"):
        _check_tag(tag, settings.agent)
    if int(response.headers.get("Content-Length") or 0) > most:
        raise Refused(f"{response.headers['Content-Length']} bytes, more than {most}")
    content = bytearray()
    while chunk := response.read1(CHUNK):
        content += chunk
        if len(content) > most:
            raise Refused(f"more than {most} bytes")
        if time.monotonic() > end:
            raise Refused(f"not done within {settings.deadline:g} s")
    return Answer(200, bytes(content))


def _check_tag(tag: str, agent: str) -> None:
    """X-Robots-Tag: words for all, or for the agent that stands before a colon."""
    name, colon, rest = tag.partition(":")
    words = (
        rest if colon and name.strip().lower() == agent.lower() else "" if colon and " " not in name else tag
    )
    found = [word for word in words.lower().replace(";", ",").split(",") if word.strip() in FORBIDDEN]
    if found:
        raise Refused(f"X-Robots-Tag: {found[0].strip()}")
