"""The service as a process: load, listen, stop in order."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI

from diffpc.errors import InputError, UsageError
from diffpc.serve.app import Access, make_app
from diffpc.serve.guard import KEYS_VARIABLE, read_keys
from diffpc.serve.keep import Keeper
from diffpc.serve.painter import LocalPainter, Make, ModelSettings
from diffpc.serve.request import Limits
from diffpc.serve.studio import Studio
from diffpc.types import Say

LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})

HEADER_BYTES = 2**16
"""Of a request's line and headers."""


@dataclass(frozen=True)
class ServeSettings:
    """How the service listens and whom it serves."""

    host: str = "127.0.0.1"
    """Address to listen on; others than this machine's own need --api-keys."""
    port: int = 7860
    allow_host: tuple[str, ...] = ()
    """Names by which clients may call the service (the Host header), beside its address."""
    allow_origin: tuple[str, ...] = ()
    """Other sites whose scripts may call the API, as https://example.org."""
    api_keys: Path | None = None
    """File with one key per line; DIFFPC_API_KEYS in the environment adds more."""
    keep: Path | None = None
    """Folder for portraits and photos; without it all stays in memory."""
    page: bool = True
    """Show the web page where it is installed."""
    batch: int = 1
    """Compatible jobs drawn together; above 1 a portrait depends on its company in the last bits."""
    ray: bool = False
    """Draw in a Ray Serve deployment, one replica per GPU."""
    ray_address: str | None = None
    """Cluster to join with --ray; without it Ray starts on this machine."""
    replicas: int | None = None
    """With --ray; without it one per GPU, or one."""
    stop_seconds: float = 30.0
    """How long running jobs may take to finish when the service is stopped."""
    model: ModelSettings = field(default_factory=ModelSettings)
    limits: Limits = field(default_factory=Limits)


def run(settings: ServeSettings, say: Say) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        settings: the operator's.
        say: told the address when portraits can be drawn, and how it ends.

    Raises:
        UsageError: if the service would be open to others without keys.
        InputError: if the model cannot be loaded, or the address is taken.
    """
    access = access_of(settings, os.environ.get(KEYS_VARIABLE))
    make, workers = _painters(settings)
    finished = Keeper(settings.keep) if settings.keep else None
    studio = Studio(make, settings.limits, workers=workers, batch=settings.batch, finished=finished)
    studio.start()
    server = _server(make_app(studio, access, settings.page), settings)
    threading.Thread(target=_announce, args=(studio, server, settings, say), daemon=True).start()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _ignore)  # uvicorn stops on them, then raises them again
    try:
        asyncio.run(server.serve())
    except SystemExit as error:  # uvicorn's way when the address is taken
        raise InputError(
            f"{settings.host}:{settings.port} cannot be listened on; choose another --port or --host"
        ) from error
    finally:
        whole = studio.close(settings.stop_seconds)
        say("stopped" if whole else "stopped; a running job did not finish in time")
    studio.ready(0.0)  # raises what stopped it, if loading failed


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Unlike SIG_IGN, children do not inherit it."""


def access_of(settings: ServeSettings, environment: str | None) -> Access:
    """Who may use the service.

    Raises:
        UsageError: if it would be open to others without keys.
        InputError: if the keys cannot be read.
    """
    keys = read_keys(settings.api_keys, environment)
    if settings.host not in LOCAL and not keys.hashes:
        raise UsageError(f"--host {settings.host} lets others in; pass --api-keys FILE, or --host 127.0.0.1")
    if settings.host not in LOCAL and settings.page:
        raise UsageError(f"--host {settings.host} would show the page, which asks for no key; pass --no-page")
    own = ("[::1]",) if settings.host == "::1" else (settings.host,)
    return Access((*LOCAL, "[::1]", *own, *settings.allow_host), settings.allow_origin, keys)


def _painters(settings: ServeSettings) -> tuple[Make, int]:
    if not settings.ray:
        return (lambda: LocalPainter(settings.model)), 1
    from diffpc.serve.ray_painter import RayPainter, RaySettings  # an optional package

    ray = RaySettings(settings.ray_address, settings.replicas)
    return (lambda: RayPainter(settings.model, ray)), ray.count


def _server(app: FastAPI, settings: ServeSettings) -> uvicorn.Server:
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_level="warning",
        access_log=False,
        h11_max_incomplete_event_size=HEADER_BYTES,
        http="h11",
        ws="none" if not settings.page else "auto",
        # Longer than clients keep idle connections: else one may send into a connection that is being closed.
        timeout_keep_alive=30,
        timeout_graceful_shutdown=5,
        server_header=False,
    )
    return uvicorn.Server(config)


def _announce(studio: Studio, server: uvicorn.Server, settings: ServeSettings, say: Say) -> None:
    try:
        studio.ready(None)
    except Exception:  # noqa: BLE001 - whatever it is, the main thread raises it
        server.should_exit = True
        return
    for note in studio.painter.notes:
        say(f"note: {note}")
    while not (server.started or server.should_exit):
        time.sleep(0.05)
    name = f"[{settings.host}]" if ":" in settings.host else settings.host
    say(f"ready: http://{name}:{settings.port}")
