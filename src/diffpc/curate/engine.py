"""Who makes the parts: Ray Data on one machine or a cluster, or this process alone.

A job is asked `done` by the driver and `make` by a worker; it writes its own file by one rename. So an engine may
run a job twice, in any order, on any machine that shares the folder, and lose a worker at any time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, runtime_checkable

from diffpc.backends import load
from diffpc.curate.parts import Told
from diffpc.curate.settings import EngineSettings

ENGINES: dict[str, str] = {
    "ray": "diffpc.curate.ray_engine:RayEngine",
    "serial": "diffpc.curate.engine:SerialEngine",
}
"""name -> factory(EngineSettings) -> Engine."""


@runtime_checkable
class Job(Protocol):
    """A part of the work."""

    @property
    def file(self) -> Path:
        """What it writes last."""
        ...

    def done(self) -> Told | None:
        """What was made before; None if it is still to do."""
        ...

    def make(self) -> Told:
        """Do it, unless it was done before."""
        ...


@runtime_checkable
class Engine(Protocol):
    """Makes jobs; opened by `with`."""

    def run(self, jobs: Sequence[Job]) -> Iterator[Told]:
        """Make the jobs; what each tells, as they end, in no order.

        Raises:
            DiffPCError: the first that a job raises.
        """
        ...

    def __enter__(self) -> Engine: ...

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def load_engine(settings: EngineSettings) -> Engine:
    """The engine that the settings name.

    Raises:
        UsageError: if the name is unknown or its package is not installed.
    """
    return load("engine", settings.engine, ENGINES)(settings)


class SerialEngine:
    """One job after the other, in this process."""

    def __init__(self, settings: EngineSettings) -> None:
        del settings

    def run(self, jobs: Sequence[Job]) -> Iterator[Told]:
        """See `Engine`."""
        for job in jobs:
            yield job.make()

    def __enter__(self) -> SerialEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to end."""
