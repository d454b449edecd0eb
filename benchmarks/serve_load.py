"""Load on `diffpc serve`: clients that ask, wait and fetch, while /healthz is timed.

    python -m benchmarks.serve_load --output benchmarks/results/serve-load-tiny-cpu.json

It starts a service of its own. Every client makes an identity once, then asks for single portraits; a 429 is obeyed.
None may be lost: every accepted job must end as done, and its PNG be fetched.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import platform
import socket
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import httpx

PHOTO = Path(__file__).parents[1] / "examples" / "astronaut.jpg"
PAUSE = 0.5
"""Seconds between two looks at a job."""

HOLD = 240
"""Minutes for which the service holds portraits and identities: no run may outlast it."""


@dataclass(frozen=True)
class Load:
    """How much is asked."""

    clients: int = 50
    requests: int = 1000
    steps: int = 1
    queue: int = 1000
    """Places in the service's queue."""
    batch: int = 1

    def __post_init__(self) -> None:
        if self.requests % self.clients:
            raise SystemExit(f"{self.requests} requests cannot be shared equally by {self.clients} clients")


@dataclass
class Found:
    """What came of it."""

    accepted: int = 0
    told_to_wait: int = 0
    fetched: int = 0
    ended: Counter[str] = field(default_factory=Counter[str])
    health_seconds: list[float] = field(default_factory=list[float])


async def client(http: httpx.AsyncClient, load: Load, found: Found, photo: str) -> None:
    """One client's requests: all are asked for, then all are waited for."""
    made = await asked(http, "/v1/identities", {"consent": True, "references": [{"data": photo}]}, found)
    body = {"consent": True, "identity": made["id"], "steps": load.steps, "previews": False}
    jobs: list[str] = []
    for seed in range(load.requests // load.clients):
        jobs.append((await asked(http, "/v1/portraits", {**body, "seed": seed}, found))["status"])
        found.accepted += 1
    for job in jobs:
        await awaited(http, job, found)


async def awaited(http: httpx.AsyncClient, job: str, found: Found) -> None:
    """Wait for one job, and fetch its portrait."""
    while (answer := await http.get(job, params={"preview": False})).status_code == 200:
        status = answer.json()
        if status["state"] not in ("queued", "running"):
            break
        await asyncio.sleep(PAUSE)
    else:
        found.ended[f"HTTP {answer.status_code}"] += 1
        return
    found.ended[status["state"]] += 1
    if status["state"] == "done":
        png = await http.get(status["portraits"][0]["url"])
        found.fetched += png.content.startswith(b"\x89PNG")


async def asked(http: httpx.AsyncClient, path: str, body: dict[str, object], found: Found) -> dict[str, str]:
    """POST until it is accepted, waiting as long as the service says."""
    while (answer := await http.post(path, json=body)).status_code == 429:
        found.told_to_wait += 1
        await asyncio.sleep(int(answer.headers["retry-after"]))
    return answer.raise_for_status().json()


async def watch(http: httpx.AsyncClient, found: Found) -> None:
    """Time /healthz until cancelled."""
    while True:
        started = time.perf_counter()
        (await http.get("/healthz")).raise_for_status()
        found.health_seconds.append(time.perf_counter() - started)
        await asyncio.sleep(0.1)


async def serving(load: Load, port: int) -> asyncio.subprocess.Process:
    """A service that is ready."""
    words = [
        "serve",
        "--port",
        port,
        "--no-page",
        "--queue",
        load.queue,
        "--kept",
        load.requests,
        "--kept-minutes",
        HOLD,
        "--identity-minutes",
        HOLD,
        "--batch",
        load.batch,
    ]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "diffpc.cli", *map(str, words), env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        while True:
            try:
                if (await http.get("/readyz")).status_code == 200:
                    return process
            except httpx.TransportError:
                if process.returncode is not None:
                    raise
            await asyncio.sleep(0.2)


async def measured(load: Load) -> dict[str, object]:
    """One run with a service of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process, found = await serving(load, port), Found()
    try:
        seconds = await loaded(load, port, found)
    finally:
        process.terminate()
        await process.wait()
    return summary(load, found, seconds)


async def loaded(load: Load, port: int, found: Found) -> float:
    """All clients at once, while /healthz is timed; the seconds that it took."""
    photo = base64.b64encode(PHOTO.read_bytes()).decode()
    limits = httpx.Limits(max_connections=load.clients + 1)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60.0, limits=limits) as http:
        watching = asyncio.create_task(watch(http, found))
        started = time.perf_counter()
        await asyncio.gather(*(client(http, load, found, photo) for _ in range(load.clients)))
        seconds = time.perf_counter() - started
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching  # raises what ended it before
    return seconds


def summary(load: Load, found: Found, seconds: float) -> dict[str, object]:
    """The figures."""
    health = sorted(found.health_seconds)
    return {
        "load": asdict(load),
        "seconds": round(seconds, 1),
        "accepted": found.accepted,
        "ended": dict(found.ended),
        "fetched": found.fetched,
        "lost": load.requests - found.fetched,
        "answers_429": found.told_to_wait,
        "healthz_ms": {
            name: round(1000 * health[int(share * (len(health) - 1))], 1)
            for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("max", 1.0))
        },
        "healthz_calls": len(health),
        "machine": f"CPU, {platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end",
    }


def main() -> None:
    """Run, and write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, value in asdict(Load()).items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--output", type=Path, required=True)
    given = vars(parser.parse_args())
    output: Path = given.pop("output")
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(asyncio.run(measured(Load(**given))), indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
