"""Drawing in a Ray Serve deployment: the only file here that knows Ray.

The queue, the jobs and HTTP stay in one light process; each of the studio's threads holds one replica busy. A replica
that dies is replaced by Ray, and its group is drawn again by another.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from diffpc.backends import require
from diffpc.errors import DiffPCError, InputError
from diffpc.eyes import Eyes
from diffpc.serve.detector import complete, isolated
from diffpc.serve.jobs import Step
from diffpc.serve.note import Making
from diffpc.serve.painter import LocalPainter, ModelSettings, Outcome, Watcher
from diffpc.serve.request import Cancelled, PortraitRequest
from diffpc.settings import FaceSettings, from_dict

APPLICATION = "diffpc"

TRIES = 3
"""Replicas that may die of one group before its jobs fail."""

OBJECTS = 256 * 2**20
"""Bytes of an embedded Ray's shared memory: requests and results go through it."""


@dataclass(frozen=True)
class RaySettings:
    """Where replicas run."""

    address: str | None = None
    """Cluster to join; None starts Ray on this machine."""
    replicas: int | None = None
    """None: one per GPU of this machine, or one."""

    @property
    def count(self) -> int:
        """Replicas."""
        return self.replicas or max(1, _gpus())


@dataclass(frozen=True)
class Model:
    """What the front needs to know of the replicas' model."""

    faces: dict[str, Any]
    defaults: dict[str, Any]
    default_size: tuple[int, int]
    making: Making
    notes: tuple[str, ...]


class Replica:
    """One pipeline in a process of its own; it lives in Ray."""

    def __init__(self, settings: ModelSettings) -> None:
        self._painter = LocalPainter(settings)

    def model(self) -> Model:
        """What it draws with."""
        painter = self._painter
        faces = dict(painter.pipeline.config["faces"])
        return Model(faces, painter.defaults, painter.default_size, painter.making, tuple(painter.notes))

    def draw(self, group: Sequence[PortraitRequest]) -> Iterator[tuple[int, Step] | list[Outcome] | str]:
        """Steps as they are done, in the end the outcomes, or what went wrong."""
        link = _Link()
        thread = threading.Thread(target=link.run, args=(self._painter, group), daemon=True)
        thread.start()
        try:
            while True:
                event = link.events.get()
                yield event
                if not isinstance(event, tuple):
                    return
        finally:  # also when the front takes the work back
            link.ended = True
            thread.join()


class _Link:
    """Between the thread that draws and the stream that tells; see `painter.Watcher`."""

    def __init__(self) -> None:
        self.events: queue.SimpleQueue[tuple[int, Step] | list[Outcome] | str] = queue.SimpleQueue()
        self.ended = False

    def run(self, painter: LocalPainter, group: Sequence[PortraitRequest]) -> None:
        """Draw."""
        try:
            self.events.put(painter.draw(group, self))
        except Exception as error:
            self.events.put(f"{type(error).__name__}: {error}")
            raise

    def report(self, number: int, step: Step) -> None:
        """Pass it on."""
        self.events.put((number, step))

    def stopped(self, number: int) -> bool:  # noqa: ARG002 - a stream ends for the whole group
        """Whether nobody listens any more."""
        return self.ended


class RayPainter:
    """A `Painter` whose pipelines are replicas of a deployment."""

    def __init__(self, model: ModelSettings, settings: RaySettings) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a tool for faces tells nobody of its use
        self._ray = require("ray", "ray")
        self._serve = require("ray.serve", "ray")
        # A thread that stays: Linux ends an embedded Ray with the thread that started it, for Ray asks for a signal
        # at its parent's death, and to Linux a parent is a thread (prctl(2), PR_SET_PDEATHSIG).
        self._root = ThreadPoolExecutor(1, "ray")
        self._root.submit(self._start, settings).result()
        gpus = 0 if model.device == "cpu" or not _gpus() else 1
        deployment = self._serve.deployment(Replica).options(
            name="painter",
            num_replicas=settings.count,
            max_ongoing_requests=1,
            ray_actor_options={"num_gpus": gpus, "num_cpus": 0},
            health_check_period_s=2,
            graceful_shutdown_timeout_s=5,
        )
        try:
            self._handle: Any = self._serve.run(deployment.bind(model), name=APPLICATION, route_prefix=None)
            found: Model = self._handle.model.remote().result()
        except (RuntimeError, self._ray.exceptions.RayError) as error:
            raise InputError(
                f"no replica could be started ({str(error)[-200:]}); look at Ray's logs"
            ) from error
        self._model = found
        self._eyes = Eyes(from_dict(FaceSettings, found.faces, "faces"))
        self._detector = isolated(self._eyes.settings.detector)
        complete(self._eyes, self._detector)

    @property
    def eyes(self) -> Eyes:
        """See `Painter`; they are in this process."""
        return self._eyes

    @property
    def default_size(self) -> tuple[int, int]:
        """See `Painter`."""
        return self._model.default_size

    @property
    def defaults(self) -> dict[str, Any]:
        """See `Painter`."""
        return self._model.defaults

    @property
    def making(self) -> Making:
        """See `Painter`."""
        return self._model.making

    @property
    def notes(self) -> Sequence[str]:
        """See `Painter`."""
        return self._model.notes

    def draw(self, group: Sequence[PortraitRequest], watcher: Watcher) -> list[Outcome]:
        """See `Painter`. A replica that dies is survived; drawing again gives the same pictures."""
        for _ in range(TRIES):
            try:
                return self._tried(group, watcher)
            except self._ray.exceptions.RayActorError:
                continue
        lost = DiffPCError(
            f"{TRIES} machines failed while they drew it; send the request again, or ask for less"
        )
        return [lost] * len(group)

    def close(self) -> None:
        """See `Painter`; an embedded Ray ends."""
        if self._detector is not None:
            self._detector.close()
        self._serve.delete(APPLICATION)
        self._ray.shutdown()
        self._root.shutdown()

    def _tried(self, group: Sequence[PortraitRequest], watcher: Watcher) -> list[Outcome]:
        stream: Any = self._handle.options(stream=True).draw.remote(list(group))
        for event in stream:
            if isinstance(event, list):
                return event
            if isinstance(event, str):
                raise RuntimeError(event)
            number, step = event
            watcher.report(number, step)
            if all(watcher.stopped(one) for one in range(len(group))):
                stream.cancel()
                return [Cancelled("cancelled")] * len(group)
        raise RuntimeError("a replica's stream ended without an outcome")

    def _start(self, settings: RaySettings) -> None:
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        logging.getLogger("ray.serve").setLevel(logging.ERROR)
        try:
            if settings.address:
                self._ray.init(address=settings.address, **quiet)
            else:  # "local": else Ray would join whatever cluster runs on this machine
                self._ray.init("local", include_dashboard=False, object_store_memory=OBJECTS, **quiet)
            self._serve.start(proxy_location="Disabled")
        except (ConnectionError, ValueError, RuntimeError, self._ray.exceptions.RayError) as error:
            raise InputError(
                f"Ray cannot be reached or started ({str(error)[:160]}); run `ray start` first"
            ) from error


def _gpus() -> int:
    import torch

    return torch.cuda.device_count()
