"""The service without HTTP: a painter, a queue in front of it, and what it holds for its clients."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable

from diffpc.errors import DiffPCError
from diffpc.eyes import Eyes
from diffpc.pipeline import check_settings
from diffpc.serve.identities import Identities
from diffpc.serve.identity_files import IdentityFile, unlocked
from diffpc.serve.jobs import Busy, Job, Jobs, Result, Status, Step
from diffpc.serve.painter import Make, Outcome, Painter, compatible
from diffpc.serve.request import (
    Known,
    Limits,
    Origin,
    Photo,
    PortraitRequest,
    check_request,
    drawing,
    origin_of,
)
from diffpc.serve.styles import check_style
from diffpc.serve.wanted import identify
from diffpc.types import Face

LONGEST_WAIT = 600
"""Seconds; `Retry-After` never asks for more."""

FIRST_GUESS = 2.0
"""Seconds of a job before one was seen."""

LOADING_WAIT = 10
"""Seconds until a client may ask again while the model is loading."""

_LOG = logging.getLogger(__name__)

Finished = Callable[[PortraitRequest, str, tuple[Result, ...]], None]
"""Told of every job that is done: its request, id and results."""


class Studio:
    """Takes requests, draws them in turn, keeps the results for a while. Every method may be called from any thread."""

    def __init__(
        self,
        make: Make,
        limits: Limits | None = None,
        workers: int = 1,
        batch: int = 1,
        finished: Finished | None = None,
    ) -> None:
        """Nothing is loaded yet.

        Args:
            make: loads the painter.
            limits: what may be asked for.
            workers: groups of jobs drawn at the same time: 1 for a pipeline in this process.
            batch: jobs in a group; above 1 a portrait depends on its company in the last bits.
            finished: told of every job that is done.
        """
        self.limits = limits or Limits()
        self.jobs = Jobs(self.limits)
        self.identities = Identities(self.limits)
        self._make, self._batch, self._finished = make, batch, finished
        self._painter: Painter | None = None
        self._fault: DiffPCError | None = None
        self._loaded = threading.Event()
        self._seconds = FIRST_GUESS
        self._workers = workers
        self._threads: list[threading.Thread] = []
        self._loader = threading.Thread(target=self._load, name="loader", daemon=True)

    def start(self) -> None:
        """Load the painter and begin to draw, both in threads."""
        self._loader.start()

    def close(self, seconds: float | None = None) -> bool:
        """Accept nothing more, fail what waits, let what runs finish.

        Args:
            seconds: how long to wait for it; then it is asked to stop after its current step.

        Returns:
            Whether all that ran was finished.
        """
        self.jobs.close()
        end = None if seconds is None else time.monotonic() + seconds
        for thread in self._threads:
            thread.join(None if end is None else max(0.0, end - time.monotonic()))
        finished = not any(thread.is_alive() for thread in self._threads)
        if self._painter is not None and finished:
            self._painter.close()
        return finished

    def ready(self, seconds: float | None = 0.0) -> bool:
        """Whether the painter is loaded, after waiting for it up to `seconds` (None: as long as it takes).

        Raises:
            DiffPCError: if it cannot be loaded.
        """
        loaded = self._loaded.wait(seconds)
        if self._fault is not None:
            raise self._fault
        return loaded

    @property
    def painter(self) -> Painter:
        """Who draws.

        Raises:
            Busy: while it is loading.
        """
        if not self.ready() or self._painter is None:
            raise Busy(f"the model is still loading; try again in {LOADING_WAIT} s", LOADING_WAIT)
        return self._painter

    @property
    def eyes(self) -> Eyes:
        """They look at photos. Raises Busy while the model is loading."""
        return self.painter.eyes

    def faces(self, photo: Photo) -> tuple[Face, ...]:
        """The faces in a photo, largest first."""
        return self.eyes.detector(photo.image)

    def identify(self, given: tuple[Photo, ...] | IdentityFile) -> Known:
        """Photos of a person, or an identity file -> who it is; runs in the caller's thread.

        Raises:
            UsageError: if the file is encrypted and has no passphrase with it.
            InputError: if a photo has no face, or several of similar size and none is chosen; or see `unlocked`.
        """
        if isinstance(given, IdentityFile):
            return Known(unlocked(given, self.eyes), Origin(file=given.mark))
        return Known(identify(given, self.eyes), origin_of(given))

    def submit(self, request: PortraitRequest) -> str:
        """Queue a request; return the job's id. While the model is loading, requests wait for it.

        Raises:
            UsageError: if it is contradictory, or beyond a limit.
            Busy: if the queue is full.
        """
        check_request(request, self.limits)
        if self._painter is not None:
            check_style(request.style, self._painter.making.styles)
            size = self._painter.default_size
            check_settings(drawing(request, self._painter.defaults, size), size)
        return self.jobs.add(request, self.retry_after)

    def check_room(self) -> None:
        """Say at once, before photos are read, that the queue is full; raises Busy."""
        self.jobs.check_room(self.retry_after)

    def status(self, job: str) -> Status:
        """How a job is; see `Jobs.status`."""
        return self.jobs.status(job)

    def wait(self, job: str, version: int = -1, seconds: float = 30.0) -> Status:
        """How a job is, once that is newer than `version` or the time is over."""
        return self.jobs.wait(job, version, seconds)

    def cancel(self, job: str) -> None:
        """Take a job back; see `Jobs.cancel`."""
        self.jobs.cancel(job)

    @property
    def retry_after(self) -> int:
        """Seconds until a place in the queue should be free."""
        wait = (self.jobs.waiting + 1) * self._seconds / (self._workers * self._batch)
        return max(1, min(LONGEST_WAIT, math.ceil(wait / 4)))

    def _load(self) -> None:
        try:
            self._painter = self._make()
        except DiffPCError as error:
            self._fault = error
        except Exception as error:
            self._fault = DiffPCError(f"the model cannot be loaded ({type(error).__name__}); see the log")
            raise
        else:
            self._threads += [
                threading.Thread(
                    target=self._work, args=(self._painter,), name=f"painter-{number}", daemon=True
                )
                for number in range(self._workers)
            ]
            for thread in self._threads:
                thread.start()
        finally:
            if self._fault is not None:
                self.jobs.close()
            self._loaded.set()

    def _work(self, painter: Painter) -> None:
        while group := self.jobs.take(self._batch, _together):
            started = time.monotonic()
            requests = [job.request for job in group if job.request is not None]
            outcomes = self._drawn(painter, group, requests)
            taken = (time.monotonic() - started) / len(group)
            self._seconds = 0.8 * self._seconds + 0.2 * taken
            for job, request, outcome in zip(group, requests, outcomes, strict=True):
                self._end(job, request, outcome)

    def _drawn(self, painter: Painter, group: list[Job], requests: list[PortraitRequest]) -> list[Outcome]:
        try:
            return painter.draw(requests, _Watcher(self.jobs, group))
        except Exception:  # noqa: BLE001 - a job may fail in a library in ways nobody foresaw; the others go on
            _LOG.exception("a job failed unexpectedly")
            fault = DiffPCError("the service failed at this request; send it again, or tell its operator")
            return [fault] * len(group)

    def _end(self, job: Job, request: PortraitRequest, outcome: Outcome) -> None:
        if self._finished is not None and not isinstance(outcome, DiffPCError) and not job.cancelled:
            try:
                self._finished(request, job.id, tuple(outcome))
            except DiffPCError as error:
                outcome = error
        self.jobs.finish(job, outcome)


class _Watcher:
    """See `painter.Watcher`."""

    def __init__(self, jobs: Jobs, group: list[Job]) -> None:
        self._jobs, self._group = jobs, group

    def report(self, number: int, step: Step) -> None:
        """Note it."""
        self._jobs.progress(self._group[number], step)

    def stopped(self, number: int) -> bool:
        """Whether somebody cancelled it."""
        return self._group[number].cancelled


def _together(first: Job, other: Job) -> bool:
    return (
        first.request is not None and other.request is not None and compatible(first.request, other.request)
    )
