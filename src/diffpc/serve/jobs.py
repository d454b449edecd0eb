"""Jobs: what was asked, how far it is, what came of it; held for a while, then forgotten."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from diffpc.errors import DiffPCError, InputError
from diffpc.pipeline import Portrait, PortraitSet
from diffpc.serve.request import Limits, PortraitRequest
from diffpc.types import Image

State = Literal["queued", "running", "done", "failed", "cancelled"]
FINISHED = frozenset({"done", "failed", "cancelled"})


class Busy(DiffPCError):
    """The service has too much to do; the message says when to come again."""

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        """Seconds."""


class Unknown(InputError):
    """No such job, portrait or identity, or no longer."""


@dataclass(frozen=True)
class Step:
    """How far a job is."""

    portrait: int
    """Which one is being drawn, from 0."""
    portraits: int
    """How many will be."""
    done: int
    """Denoising steps of this portrait that are done."""
    steps: int
    """Denoising steps of each portrait."""
    preview: Image | None = None
    """What the portrait looks like so far, small."""

    @property
    def fraction(self) -> float:
        """Of the whole job, 0 to 1."""
        return (self.portrait * self.steps + self.done) / (self.portraits * self.steps)


@dataclass(frozen=True)
class Result:
    """One finished portrait."""

    portrait: Portrait
    """The picture as it is given away, and its likeness."""
    drawn: PortraitSet
    """All that the pipeline made with it; its own picture has no watermark."""
    png: bytes
    """The file, with the record of its making."""
    withheld: str | None = None
    """Why the picture is not given away (it is plain grey then); None: it is."""


@dataclass(frozen=True)
class Status:
    """A job at one moment."""

    id: str
    state: State
    version: int
    """Counts the changes."""
    position: int
    """Jobs that wait before it; 0 unless queued."""
    step: Step | None
    error: str | None
    """Why it failed, one sentence."""
    results: tuple[Result, ...]


@dataclass(eq=False)
class Job:
    """One accepted request. Only `Jobs` writes to it."""

    request: PortraitRequest | None
    """None once the job is finished: its photos are not kept longer than needed."""
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    """Not to be guessed: who knows it can fetch the portraits."""
    state: State = "queued"
    version: int = 0
    step: Step | None = None
    error: str | None = None
    results: tuple[Result, ...] = ()
    cancelled: bool = False
    """Asked to stop."""
    finished: float | None = None
    """When, by `time.monotonic`."""


Fits = Callable[[Job, Job], bool]
"""Whether the second job can be drawn in one batch with the first."""


class Jobs:
    """All jobs of a service, in order; safe to use from any thread."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._jobs: dict[str, Job] = {}
        self._waiting: list[Job] = []
        self._changed = threading.Condition()
        self._closed = False
        self._counts: dict[str, int] = dict.fromkeys(("accepted", "refused", *sorted(FINISHED)), 0)

    def check_room(self, retry_after: int) -> None:
        """Raise Busy if a small request would be refused now."""
        with self._changed:
            self._check_room(0, retry_after)

    def add(self, request: PortraitRequest, retry_after: int) -> str:
        """Queue a checked request; return the job's id.

        Raises:
            Busy: if too many wait, or too many photos with them.
        """
        with self._changed:
            self._check_room(request.held_bytes, retry_after)
            self._forget()
            job = Job(request)
            self._jobs[job.id] = job
            self._waiting.append(job)
            self._counts["accepted"] += 1
            self._changed.notify_all()
            return job.id

    def take(self, most: int, fits: Fits) -> list[Job]:
        """Wait for jobs and start them: the oldest, and up to `most` in all that can be drawn with it.

        Returns:
            Nothing if the service is closed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if not self._waiting:
                return []
            first = self._waiting[0]
            group = [first, *(job for job in self._waiting[1:] if fits(first, job))][:most]
            for job in group:
                self._waiting.remove(job)
                job.state = "running"
                self._touch(job)
            for job in self._waiting:
                self._touch(job)
            return group

    def progress(self, job: Job, step: Step) -> None:
        """Note how far a running job is."""
        with self._changed:
            if job.state == "running":
                job.step = step
                self._touch(job)

    def finish(self, job: Job, outcome: Sequence[Result] | DiffPCError) -> None:
        """Note what came of a job; it ends as cancelled if that was asked for."""
        with self._changed:
            if job.state in FINISHED:
                return
            if job.cancelled:
                self._end(job, "cancelled")
            elif isinstance(outcome, DiffPCError):
                job.error = " ".join(str(outcome).split())
                self._end(job, "failed")
            else:
                job.results = tuple(outcome)
                self._end(job, "done")

    def cancel(self, name: str) -> None:
        """Take a job back: at once if it waits, after its current step if it runs; a finished one is forgotten.

        Raises:
            Unknown: if there is no such job.
        """
        with self._changed:
            job = self._found(name)
            if job.state in FINISHED:
                del self._jobs[name]
                return
            job.cancelled = True
            if job.state == "queued":
                self._waiting.remove(job)
                self._end(job, "cancelled")
            self._touch(job)

    def status(self, name: str) -> Status:
        """How a job is.

        Raises:
            Unknown: if there is no such job.
        """
        with self._changed:
            self._forget()
            return self._status(self._found(name))

    def wait(self, name: str, version: int, seconds: float) -> Status:
        """As `status`, once it is newer than `version` or the time is over."""
        with self._changed:
            job = self._found(name)
            self._changed.wait_for(lambda: job.version > version or job.state in FINISHED, seconds)
            return self._status(job)

    def close(self) -> None:
        """Accept nothing more; what waits fails and is told."""
        with self._changed:
            self._closed = True
            for job in self._waiting:
                job.error = "the service was stopped before its turn; send the request again"
                self._end(job, "failed")
            self._waiting.clear()
            self._changed.notify_all()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @property
    def busy(self) -> bool:
        """Whether any waits or runs."""
        with self._changed:
            return any(job.finished is None for job in self._jobs.values())

    @property
    def counts(self) -> dict[str, int]:
        """How many were accepted, refused, done, failed, cancelled since the start."""
        with self._changed:
            return dict(self._counts)

    def _check_room(self, photos: int, retry_after: int) -> None:
        held = sum(job.request.held_bytes for job in self._waiting if job.request)
        full = len(self._waiting) >= self._limits.queue
        full = full or bool(self._waiting and held + photos > self._limits.queue_bytes)
        if not full and not self._closed:
            return
        self._counts["refused"] += 1
        if self._closed:
            raise Busy("the service is stopping; try again later", retry_after)
        raise Busy(
            f"{len(self._waiting)} jobs are waiting and the queue is full; try again in {retry_after} s",
            retry_after,
        )

    def _found(self, name: str) -> Job:
        if name not in self._jobs:
            raise Unknown(
                f"no job {name[:40]!r}; it was never there, or its time is over: send the request again"
            )
        return self._jobs[name]

    def _status(self, job: Job) -> Status:
        position = self._waiting.index(job) if job.state == "queued" else 0
        return Status(job.id, job.state, job.version, position, job.step, job.error, job.results)

    def _touch(self, job: Job) -> None:
        job.version += 1
        self._changed.notify_all()

    def _end(self, job: Job, state: State) -> None:
        job.state, job.finished, job.request = state, time.monotonic(), None
        self._counts[state] += 1
        self._touch(job)
        self._forget()

    def _forget(self) -> None:
        """Drop finished jobs that are too old or too many."""
        ended = sorted(
            (job for job in self._jobs.values() if job.finished is not None),
            key=lambda job: job.finished or 0,
        )
        limit = time.monotonic() - self._limits.kept_seconds
        surplus = len(ended) - self._limits.kept
        for number, job in enumerate(ended):
            if number < surplus or (job.finished or 0) < limit:
                del self._jobs[job.id]
