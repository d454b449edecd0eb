"""Requests to a web server: redirects followed by hand, so that a token never leaves the host it is for."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from typing import cast
from urllib.error import HTTPError, URLError
from urllib.parse import urljoin, urlsplit
from urllib.request import (
    BaseHandler,
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

from diffpc.errors import InputError, UsageError

HUB = "https://huggingface.co"
MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_PASSING = (408, 425, 429, 500, 502, 503, 504)
"""Answers that another try may change."""
_REFUSED = (401, 403)
_LONGEST_WAIT = 60.0


class Interrupted(Exception):
    """Another try may help."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait
        """Seconds for which the server asks."""


class Unsatisfiable(Exception):
    """The server has no such part of the file (416)."""


@dataclass(frozen=True)
class Token:
    """A secret that lets one host know who asks."""

    value: str
    origin: str = HUB
    """Scheme, host and port that may see it."""

    def __post_init__(self) -> None:
        if not self.value.isascii() or not self.value.isprintable() or " " in self.value:
            raise UsageError("HF_TOKEN holds a character that no token has; set it again, or unset it")

    def __repr__(self) -> str:
        return f"Token(for {self.origin})"


def ask(
    url: str, headers: Mapping[str, str], token: Token | None = None, timeout: float = 30.0
) -> HTTPResponse:
    """The answer to a GET, past redirects; the caller closes it.

    Args:
        url: https, or http if a mirror was named so.
        headers: of every request.
        token: sent to its own origin alone, and to no host behind a redirect.
        timeout: seconds without a byte.

    Raises:
        InputError: if the server refuses, has no such file, or leads astray.
        Interrupted: if another try may help.
        Unsatisfiable: if the range is not to be had.
    """
    secure = urlsplit(url).scheme == "https"
    for _ in range(MAX_REDIRECTS + 1):
        scheme = urlsplit(url).scheme
        if scheme != "https" and (secure or scheme != "http"):
            raise InputError(f"{url}: is no https address; give a --mirror that keeps to https")
        answer = _request(url, headers, token, timeout)
        if isinstance(answer, HTTPResponse):
            return answer
        url = urljoin(url, answer)
    raise InputError(f"{url}: more than {MAX_REDIRECTS} redirects; try again later or give a --mirror")


def _request(url: str, headers: Mapping[str, str], token: Token | None, timeout: float) -> HTTPResponse | str:
    """The answer, or where it redirects to."""
    request = Request(url, headers={"User-Agent": "diffpc", "Accept-Encoding": "identity", **headers})
    if token is not None and origin_of(url) == token.origin:
        request.add_unredirected_header("Authorization", f"Bearer {token.value}")
    try:
        return cast(HTTPResponse, _opener().open(request, timeout=timeout))
    except HTTPError as error:
        with closing(error):
            if error.code in _REDIRECTS and error.headers.get("Location"):
                return str(error.headers["Location"])
            raise _refusal(url, error) from error
    except URLError as error:
        raise Interrupted(f"cannot be reached ({error.reason})") from error
    except (OSError, HTTPException) as error:
        raise Interrupted(f"the connection broke ({error or type(error).__name__})") from error


def origin_of(url: str) -> str:
    """Scheme, host and port, as an address gives them."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2].lower()}"


def _opener() -> OpenerDirector:
    """Proxies of the environment, http and https; no redirects, and no file: or ftp: addresses."""
    opener = OpenerDirector()
    handlers: list[BaseHandler] = [
        ProxyHandler(),
        HTTPHandler(),
        HTTPSHandler(),
        HTTPDefaultErrorHandler(),
        HTTPErrorProcessor(),
    ]
    for handler in handlers:
        opener.add_handler(handler)
    return opener


def _refusal(url: str, error: HTTPError) -> Exception:
    if error.code == 416:
        return Unsatisfiable()
    if error.code in _PASSING:
        return Interrupted(f"the server answers {error.code}", _wait(error.headers.get("Retry-After")))
    if error.code in _REFUSED:
        remedy = "accept its terms on its page and set HF_TOKEN to your token, or give a --mirror"
        return InputError(f"{url}: the server refuses it ({error.code}); {remedy}")
    return InputError(f"{url}: the server answers {error.code}; check the address, or give a --mirror")


def _wait(text: str | None) -> float:
    return min(float(text), _LONGEST_WAIT) if text is not None and text.isdecimal() else 0.0
