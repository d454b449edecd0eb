"""A part of the service that is made while the rest answers already."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

_LOG = logging.getLogger(__name__)


class Arriving:
    """ASGI: an app that is made in a thread; requests to it wait until it is there."""

    def __init__(self, make: Callable[[], FastAPI], turn: Callable[[], Awaitable[None]]) -> None:
        """Nothing is made yet; see `lifespan`.

        Args:
            make: makes the app; may take long.
            turn: returns when it is time to.
        """
        self._make, self._turn = make, turn
        self._app: FastAPI | None = None
        self._settled, self._over = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def lifespan(self, _around: FastAPI) -> AsyncGenerator[None]:
        """That of the app around it: this one is made, started and stopped within it."""
        task = asyncio.create_task(self._run())
        task.add_done_callback(self._ended)
        try:
            yield
        finally:
            self._over.set()
            if self._app is None:
                task.cancel()  # it is not there yet
            await asyncio.wait([task])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        await self._settled.wait()
        app = self._app or PlainTextResponse("the page could not be made; see the log", status_code=503)
        await app(scope, receive, send)

    async def _run(self) -> None:
        await self._turn()
        app = await asyncio.to_thread(self._make)
        async with app.router.lifespan_context(app):
            self._app = app
            self._settled.set()
            await self._over.wait()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._app = None
        self._settled.set()
        if not task.cancelled() and (fault := task.exception()) is not None:
            _LOG.error("the page could not be made", exc_info=fault)
