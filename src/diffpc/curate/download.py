"""A table of addresses -> photos on disk, politely; what was asked for once is never asked for again.

Requests to one host are few at a time and spaced, robots.txt and X-Robots-Tag are honoured, private addresses are
refused (`fetch`). A journal tells what became of each address; a download that was killed goes on after its last line.
"""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO
from urllib.parse import urlsplit
from urllib.robotparser import RobotFileParser

from diffpc.curate.fetch import Refused, Target, ask, redirected, target_of
from diffpc.curate.progress import INTERVAL
from diffpc.curate.settings import DownloadSettings
from diffpc.curate.sources import Link
from diffpc.errors import InputError
from diffpc.files import atomic_write
from diffpc.types import Say

JOURNAL = "downloads.jsonl"

ROBOTS_BYTES = 512 * 1024
"""Of a robots.txt; RFC 9309 wants at least 500 KiB to be read."""


@dataclass(frozen=True)
class Downloaded:
    """What became of each link: every key is in one of the two."""

    files: Mapping[str, Path]
    faults: Mapping[str, str]
    """Key -> why there is no photo."""


def download(links: Sequence[Link], folder: Path, settings: DownloadSettings, report: Say) -> Downloaded:
    """Fetch what was not asked for yet.

    Args:
        links: of the table.
        folder: photos and journal.
        settings: manners and limits.
        report: takes a line now and then.

    Raises:
        InputError: if the folder cannot be written.
    """
    known = _read_journal(folder / JOURNAL, folder)
    left = [link for link in links if link.key not in known]
    if len(left) < len(links):
        report(f"download: {len(links) - len(left)} of {len(links)} addresses were asked before")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / JOURNAL).open("a") as stream:
            if known and not (folder / JOURNAL).read_text(errors="replace").endswith("\n"):
                stream.write("\n")  # after a line that a kill cut short
            _Downloader(folder, settings, stream).run(left, report)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(
            f"{folder}: cannot be written ({reason}); make room and run the same command again"
        ) from error
    known = _read_journal(folder / JOURNAL, folder)
    files = {link.key: photo_file(folder, link.key) for link in links if not known[link.key]}
    return Downloaded(files, {link.key: known[link.key] for link in links if known[link.key]})


def photo_file(folder: Path, key: str) -> Path:
    """Where a photo lies: a thousand folders, since some disks are slow with many files in one."""
    return folder / key[-3:] / key


@dataclass
class _Host:
    """The manners towards one origin."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    next_start: float = 0.0
    robots: RobotFileParser | None = None


class _Downloader:
    def __init__(self, folder: Path, settings: DownloadSettings, journal: TextIO) -> None:
        self._folder, self._settings, self._journal = folder, settings, journal
        self._writing = threading.Lock()
        self._hosts: dict[str, _Host] = defaultdict(_Host)
        self._most = int(settings.megabytes * 2**20)

    def run(self, links: Sequence[Link], report: Say) -> None:
        """Fetch all; a lane is a sequence of requests to one host."""
        done, lost, last = 0, 0, time.monotonic()
        with ThreadPoolExecutor(self._settings.connections) as pool:
            lanes = [pool.submit(self._lane, lane) for lane in _lanes(links, self._settings.per_host)]
            for lane in as_completed(lanes):
                found = lane.result()
                done, lost = done + len(found), lost + sum(found)
                if time.monotonic() - last > INTERVAL:
                    last = time.monotonic()
                    report(f"download: {done} of {len(links)} addresses asked, {lost} without a photo")
        if links:
            report(f"download: {done} of {len(links)} addresses asked, {lost} without a photo")

    def _lane(self, links: Sequence[Link]) -> list[bool]:
        """Which of them failed."""
        return [self._one(link) for link in links]

    def _one(self, link: Link) -> bool:
        try:
            content, fault = self._fetched(link.url), ""
        except Refused as error:
            content, fault = b"", str(error)
        if not fault:
            with atomic_write(photo_file(self._folder, link.key)) as stream:
                stream.write(content)
        with self._writing:
            self._journal.write(json.dumps({"key": link.key, "fault": fault}) + "\n")
            self._journal.flush()
        return bool(fault)

    def _fetched(self, url: str) -> bytes:
        """Follow an address to its photo.

        Raises:
            Refused: if there is none to be had.
        """
        for _ in range(self._settings.redirects + 1):
            target = target_of(url, self._settings)
            self._wait_for_turn(target, url)
            answer = ask(target, self._most, time.monotonic() + self._settings.deadline, self._settings)
            if answer.status == 200:
                if not answer.content:
                    raise Refused("an empty answer")
                return answer.content
            url = redirected(url, answer)
            if not url:
                raise Refused(f"status {answer.status}")
        raise Refused(f"more than {self._settings.redirects} redirects")

    def _wait_for_turn(self, target: Target, url: str) -> None:
        """Until the host may be asked again.

        Raises:
            Refused: if its robots.txt forbids the address.
        """
        with self._writing:  # a defaultdict alone could make two of one host
            host = self._hosts[target.origin]
        with host.lock:
            if host.robots is None:
                host.robots = _robots(target, self._settings)
            allowed = host.robots.can_fetch(self._settings.agent, url)
            now = time.monotonic()
            start = max(now, host.next_start)
            host.next_start = start + (self._settings.delay if allowed else 0.0)
        if not allowed:
            raise Refused("robots.txt forbids it")
        time.sleep(start - now)


def _robots(target: Target, settings: DownloadSettings) -> RobotFileParser:
    """The rules of an origin: none if it has no robots.txt, all forbidden if that cannot be read (RFC 9309)."""
    rules = RobotFileParser()
    url, end = f"{target.origin}/robots.txt", time.monotonic() + settings.deadline
    try:
        for _ in range(settings.redirects + 1):
            answer = ask(target_of(url, settings), ROBOTS_BYTES, end, settings)
            if answer.status == 200:
                rules.parse(answer.content.decode(errors="replace").splitlines())
                return rules
            if not (url := redirected(url, answer)):
                rules.parse([] if 400 <= answer.status < 500 else ["User-agent: *", "Disallow: /"])
                return rules
    except Refused:
        pass
    rules.parse(["User-agent: *", "Disallow: /"])
    return rules


def _lanes(links: Sequence[Link], per_host: int) -> Iterator[list[Link]]:
    """The links of each host, dealt out to at most `per_host` sequences."""
    hosts: dict[str, list[Link]] = defaultdict(list)
    for link in links:
        hosts[_host(link.url)].append(link)
    for found in hosts.values():
        yield from (lane for start in range(per_host) if (lane := found[start::per_host]))


def _host(url: str) -> str:
    try:
        return urlsplit(url).netloc
    except ValueError:  # no address at all: it will be refused
        return ""


def _read_journal(file: Path, folder: Path) -> dict[str, str]:
    """Key -> fault, empty for a photo that is there; a line that a kill cut short is left out."""
    known: dict[str, str] = {}
    if not file.is_file():
        return known
    for line in file.read_text(errors="replace").splitlines():
        try:
            entry = json.loads(line)
            key, fault = str(entry["key"]), str(entry["fault"])
        except (ValueError, LookupError, TypeError):
            continue
        if fault or photo_file(folder, key).is_file():
            known[key] = fault
    return known
