"""A short form of the load run: the bundled model behind HTTP, and a queue that is too short for its clients."""

import asyncio
import json
import sys

import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")

import httpx

from benchmarks import serve_load
from benchmarks.serve_load import Found, Load, summary
from diffpc.serve.app import make_app
from diffpc.serve.studio import Studio


def test_no_request_is_lost_and_every_429_is_obeyed(tmp_path, monkeypatch):
    path = tmp_path / "new" / "load.json"
    words = ["--clients", "8", "--requests", "16", "--queue", "4", "--output", str(path)]
    monkeypatch.setattr(sys, "argv", ["serve_load", *words])
    serve_load.main()
    found = json.loads(path.read_text())
    assert (found["accepted"], found["fetched"], found["lost"]) == (16, 16, 0)
    assert found["ended"] == {"done": 16}
    assert found["answers_429"] > 0
    assert found["healthz_calls"] > 10 and set(found["healthz_ms"]) == {"p50", "p95", "p99", "max"}


def test_what_was_not_fetched_is_lost():
    found = Found(accepted=4, told_to_wait=1, fetched=3, health_seconds=[0.003, 0.001, 0.002])
    figures = summary(Load(clients=2, requests=4), found, 8.04)
    assert (figures["lost"], figures["seconds"], figures["answers_429"]) == (1, 8.0, 1)
    assert figures["healthz_ms"] == {"p50": 2.0, "p95": 2.0, "p99": 2.0, "max": 3.0}


def test_a_forgotten_job_is_counted():
    found, app = Found(), make_app(Studio(lambda: pytest.fail("never loaded")))

    async def ask() -> None:
        service = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=service, base_url="http://127.0.0.1") as http:
            await serve_load.awaited(http, "/v1/jobs/x", found)

    asyncio.run(ask())
    assert (found.ended, found.fetched) == ({"HTTP 404": 1}, 0)


def test_requests_are_shared_equally():
    with pytest.raises(SystemExit, match="7 requests cannot be shared equally by 2 clients"):
        Load(clients=2, requests=7)
