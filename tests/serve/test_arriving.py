"""What is made while the service answers already: requests wait for it."""

import asyncio
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import httpx
import pytest
from fastapi import FastAPI

from diffpc.serve.arriving import Arriving


class Page:
    """Makes an app when it is let; notes when that starts and stops."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.may, self.go = threading.Event(), threading.Event()
        self.noted: list[str] = []
        self.fault = fault

    async def turn(self) -> None:
        while not self.may.is_set():
            await asyncio.sleep(0.01)

    def made(self) -> FastAPI:
        self.noted.append("made")
        assert self.go.wait(30)
        if self.fault:
            raise self.fault
        app = FastAPI(lifespan=self.lifespan)
        app.add_api_route("/page", lambda: "here")
        return app

    @asynccontextmanager
    async def lifespan(self, _: FastAPI) -> AsyncGenerator[None]:
        self.noted.append("started")
        yield
        self.noted.append("stopped")

    def around(self) -> FastAPI:
        arriving = Arriving(self.made, self.turn)
        app = FastAPI(lifespan=arriving.lifespan)
        app.add_api_route("/healthz", lambda: "ok")
        app.mount("/", arriving)
        return app


@asynccontextmanager
async def client_of(app: FastAPI) -> AsyncGenerator[httpx.AsyncClient]:
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client,
    ):
        yield client


def test_others_answer_while_it_is_made_and_its_requests_wait() -> None:
    page = Page()

    async def visit() -> None:
        async with client_of(page.around()) as client:
            waiting = asyncio.create_task(client.get("/page"))
            assert (await client.get("/healthz")).json() == "ok"
            assert page.noted == []  # it is not time yet
            page.may.set()
            with anyio.fail_after(30):
                while not page.noted:
                    await asyncio.sleep(0.01)
                assert (await client.get("/healthz")).json() == "ok"
                assert not waiting.done()
                page.go.set()
                assert (await waiting).json() == "here"
            assert page.noted == ["made", "started"]

    asyncio.run(visit())
    assert page.noted == ["made", "started", "stopped"]


def test_a_page_that_cannot_be_made_is_said_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    page = Page(ValueError("no such theme"))
    page.may.set()
    page.go.set()

    async def visit() -> httpx.Response:
        async with client_of(page.around()) as client:
            return await client.get("/page")

    answer = asyncio.run(visit())
    assert answer.status_code == 503
    assert "see the log" in answer.text
    assert "no such theme" in caplog.text


def test_the_service_can_stop_before_it_is_time(caplog: pytest.LogCaptureFixture) -> None:
    page = Page()

    async def visit() -> None:
        async with client_of(page.around()) as client:
            assert (await client.get("/healthz")).json() == "ok"

    asyncio.run(visit())
    assert page.noted == []
    assert not caplog.text
