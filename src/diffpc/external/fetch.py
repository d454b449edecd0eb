"""Bringing an asset: from where it is already, from the Hugging Face cache, or from its source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import quote, urlsplit

from diffpc.errors import InputError, UsageError
from diffpc.external.asset import Archive, Asset, ByHand, File, Hub, Web
from diffpc.external.cached import cached, place
from diffpc.external.download import Manner, Order, Progress, download
from diffpc.external.http import HUB, Token, origin_of
from diffpc.external.places import assets_root
from diffpc.external.unpack import unpack
from diffpc.external.verify import Finding, verified, verify

Bar = Callable[[str], AbstractContextManager[Progress]]
"""Opens a progress bar of that name."""

How = Literal["there", "cache", "download"]


@dataclass(frozen=True)
class Fetching:
    """How assets are brought."""

    root: Path = field(default_factory=assets_root)
    """Folder of models."""
    mirror: str | None = None
    """Address that stands in for the host of every source."""
    token: str | None = None
    """For the hub."""
    manner: Manner = field(default_factory=Manner)
    again: bool = False
    """Also bring what is there and cannot be told by a hash to be right."""


@dataclass(frozen=True)
class Fetched:
    """One file that is now in its place."""

    path: Path
    how: How
    hashed: bool
    """Whether its hash is known, and right."""


def fetch(asset: Asset, how: Fetching, bar: Bar) -> tuple[Fetched, ...]:
    """Bring what is missing or wrong of an asset; what is there and right stays.

    Raises:
        UsageError: if the mirror is no address.
        InputError: if it is to be fetched by hand (the message says how), cannot be had, or is another file.
    """
    findings = verify(asset, how.root)
    if not any(_lacks(found, how) for found in findings):
        return tuple(Fetched(found.path, "there", found.state == "ok") for found in findings)
    if isinstance(asset.source, ByHand):
        raise InputError(by_hand(asset, asset.source))
    if isinstance(asset.source, Archive):
        _fetch_archive(asset, asset.source, how, bar)
        return tuple(Fetched(how.root / file.place, "download", bool(file.sha256)) for file in asset.files)
    return tuple(_brought(found, asset.source, how, bar) for found in findings)


def by_hand(asset: Asset, source: ByHand) -> str:
    """One sentence: the page and the steps."""
    account = " (it needs an account)" if source.registration else ""
    return f"{asset.name} is to be fetched by hand: go to {source.page}{account}, {source.steps}"


def address(source: Hub | Web | Archive, file: File | None, mirror: str | None) -> str:
    """Where a file is downloaded from; a mirror has the paths of the host for which it stands in.

    Raises:
        UsageError: if the mirror is no http or https address.
    """
    if isinstance(source, Hub):
        revision = quote(source.revision, safe="")
        url = f"{HUB}/{source.repository}/resolve/{revision}/{quote(file.origin if file else '')}"
    elif isinstance(source, Archive) or file is None:
        url = source.address
    else:
        url = f"{source.address}/{quote(file.origin)}"
    if mirror is None:
        return url
    parts = urlsplit(mirror)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise UsageError(f"--mirror {mirror!r} is no address; give for instance https://hf-mirror.example")
    return mirror.rstrip("/") + urlsplit(url).path


def token_of(environment: Mapping[str, str]) -> str | None:
    """The user's token for the hub: $HF_TOKEN, without blanks around it."""
    return environment.get("HF_TOKEN", "").strip() or None


def _lacks(found: Finding, how: Fetching) -> bool:
    return found.state in ("absent", "wrong") or (how.again and found.state != "ok")


def _brought(found: Finding, source: Hub | Web, how: Fetching, bar: Bar) -> Fetched:
    file, path = found.file, how.root / found.file.place
    if not _lacks(found, how):
        return Fetched(found.path, "there", found.state == "ok")
    if isinstance(source, Hub) and not how.again and _from_cache(source, file, path):
        return Fetched(path, "cache", bool(file.sha256))
    _download(address(source, file, how.mirror), path, (file.limit, file.size, file.sha256), how, bar)
    return Fetched(path, "download", bool(file.sha256))


def _from_cache(source: Hub, file: File, path: Path) -> bool:
    """Whether the cache had the right file, which is in its place then."""
    found = cached(source, file)
    if found is None:
        return False
    # Looked at where it lies: a broken file of the cache is not to replace anything.
    if verified(file, found).state not in ("ok", "present, hash unknown"):
        return False
    place(found, path)
    return True


def _fetch_archive(asset: Asset, source: Archive, how: Fetching, bar: Bar) -> None:
    path = how.root / f"{asset.name}.zip"
    url = address(source, None, how.mirror)
    _download(url, path, (source.size, source.size, source.sha256), how, bar)
    try:
        unpack(path, how.root, asset.files)
    finally:
        path.unlink(missing_ok=True)
    wrong = [found for found in verify(asset, how.root) if found.state == "wrong"]
    if wrong:
        raise InputError(f"{wrong[0].path}: {wrong[0].detail}; give a --mirror that has the right one")


def _download(
    url: str, path: Path, known: tuple[int, int | None, str | None], how: Fetching, bar: Bar
) -> None:
    token = Token(how.token) if how.token and origin_of(url) == HUB else None
    with bar(path.name) as progress:
        download(Order(url, path, *known, token), how.manner, progress)
