"""Ray Data as the engine: the only file that knows Ray.

Tasks, not actors: a task whose worker or node dies is run again wherever there is room, while an actor would wait
for its own node. The networks stay loaded, since Ray uses its worker processes again (`worker.tools_for`).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

from diffpc.backends import require
from diffpc.curate.engine import Job
from diffpc.curate.parts import Told
from diffpc.curate.settings import EngineSettings
from diffpc.errors import DiffPCError, InputError

OBJECTS = 256 * 2**20
"""Bytes of Ray's shared memory: only the jobs' descriptions go through it."""

_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # a tool for faces tells nobody of its use
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
}


class RayEngine:
    """See `engine.Engine`."""

    def __init__(self, settings: EngineSettings) -> None:
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        self._settings = settings
        self._ray = require("ray", "curate")
        self._data = require("ray.data", "curate")

    def __enter__(self) -> RayEngine:
        """Start Ray, or join the cluster.

        Raises:
            InputError: if the cluster cannot be reached.
        """
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if address := self._settings.address:
            try:
                self._ray.init(address=address, **quiet)
            except (ConnectionError, ValueError, RuntimeError, self._ray.exceptions.RayError) as error:
                raise InputError(
                    f"{address}: no Ray cluster can be reached there ({str(error)[:160]}); run `ray start` first"
                ) from error
        else:
            workers = self._settings.workers or None
            # "local": without it Ray would join whatever cluster runs on this machine.
            self._ray.init(
                "local", num_cpus=workers, include_dashboard=False, object_store_memory=OBJECTS, **quiet
            )
        context = self._data.DataContext.get_current()
        context.enable_progress_bars = False
        for name in ("ray.data", "ray"):
            logging.getLogger(name).setLevel(logging.ERROR)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave; an embedded Ray ends."""
        self._ray.shutdown()

    def run(self, jobs: Sequence[Job]) -> Iterator[Told]:
        """See `Engine`."""
        if not jobs:
            return
        items = [{"job": job} for job in jobs]
        told = self._data.from_items(items, override_num_blocks=len(items)).map(
            _make,
            compute=self._data.TaskPoolStrategy(self._settings.workers or None),
            num_cpus=1,
        )  # Ray Data tries a task again without end; the part's journal finds the photo that kills its worker
        try:
            for row in told.iter_rows():
                yield row["told"]
        except self._ray.exceptions.RayError as error:
            raise _own(error) or error from error


def _make(row: dict[str, Any]) -> dict[str, Any]:
    return {"told": row["job"].make()}


def _own(error: BaseException | None) -> DiffPCError | None:
    """What a job raised, below Ray's wrappings."""
    while error is not None:
        if isinstance(error, DiffPCError):
            return error
        error = getattr(error, "cause", None) or error.__cause__
    return None
