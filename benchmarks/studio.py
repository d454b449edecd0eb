"""How soon `diffpc serve` answers a person: first portrait and page after the command, and the live 3D face.

    python -m benchmarks.studio --output benchmarks/results/studio-tiny-cpu.json [--other ../before/src]

Each start is a service of its own. A portrait is asked for as soon as the port answers, and counts when its PNG is
here; the page when it answers, which it does after the model is loaded. A frame of the 3D face counts from the
slider's event in Chromium until the picture on the page is another.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import torch

from diffpc.bench.device import describe
from diffpc.bench.figures import figure, write_json
from diffpc.bench.start_up import SOURCE, Taken, summary

PHOTO = Path(__file__).parents[1] / "examples" / "astronaut.jpg"
OPTIONS = '{"consent": true, "prompt": "a portrait photo, a blue background", "pose": {"yaw": 20}}'

WAIT = 120
"""Seconds for an answer: the machine may be busy."""

STAGES = ("port", "loaded", "portrait", "page")
"""What is reached; the page may be there before the portrait."""

MOVED = """([value]) => new Promise(done => {
    const slider = document.querySelector("#slider-yaw input[type=range]");
    const before = document.querySelector("#canvas img").src, started = performance.now();
    new MutationObserver((_, watcher) => {
        const now = document.querySelector("#canvas img");
        if (!now || now.src === before) return;
        watcher.disconnect();
        now.decode().then(() => done(performance.now() - started));
    }).observe(document.querySelector("#canvas"), {childList: true, subtree: true, attributes: true});
    Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, "value").set.call(slider, value);
    slider.dispatchEvent(new Event("input", {bubbles: true}));
})"""
"""Moves a slider; gives the milliseconds until another picture is decoded."""


@dataclass(frozen=True)
class Service:
    """`diffpc serve` as a person starts it."""

    address: str
    process: psutil.Process


@contextmanager
def serving(source: Path) -> Generator[Service]:
    """A service of the version in that folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "diffpc.cli", "serve", "--port", str(port)]
    process = psutil.Popen(words, env={**os.environ, "PYTHONPATH": str(source)})
    try:
        yield Service(f"http://127.0.0.1:{port}", process)
    finally:
        process.terminate()
        process.wait()


def first_portrait(source: Path) -> dict[str, tuple[float, float]]:
    """Seconds, by the clock and of a processor, from the command until each of `STAGES`."""
    started = time.perf_counter()
    found: dict[str, tuple[float, float]] = {}

    def reached(stage: str) -> None:
        used = service.process.cpu_times()
        found[stage] = round(time.perf_counter() - started, 2), round(used.user + used.system, 2)

    def page() -> None:
        with httpx.Client(base_url=service.address, timeout=WAIT) as http:
            answers_at(http, "/")
        reached("page")

    with serving(source) as service, httpx.Client(base_url=service.address, timeout=WAIT) as http:
        answers_at(http, "/healthz")
        reached("port")
        visitor = threading.Thread(target=page)
        visitor.start()
        job = http.post("/v1/portraits", data={"options": OPTIONS}, files={"references": PHOTO.read_bytes()})
        place = job.raise_for_status().json()["status"]
        answers_at(http, "/readyz")
        reached("loaded")
        while (status := http.get(place).json())["state"] in ("queued", "running"):
            time.sleep(0.05)
        assert status["state"] == "done", status
        assert http.get(status["portraits"][0]["url"]).content.startswith(b"\x89PNG")
        reached("portrait")
        visitor.join()
    return found


def answers_at(http: httpx.Client, path: str) -> None:
    """Wait until that path answers 200."""
    while True:
        try:
            if http.get(path).status_code == 200:
                return
        except httpx.TransportError:
            pass  # not listening yet
        time.sleep(0.02)


def live_face(source: Path, moves: int) -> list[float]:
    """Milliseconds of each frame of the 3D face, over a photo's person."""
    from playwright.sync_api import sync_playwright

    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    chromium = next(filter(None, map(shutil.which, names)))
    with serving(source) as service, sync_playwright() as playwright:
        with httpx.Client(base_url=service.address, timeout=WAIT) as http:
            answers_at(http, "/readyz")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(1000 * WAIT)
        page.goto(service.address)
        page.locator("#canvas img").wait_for()
        page.set_input_files("#drop-photos-of-the-person input", PHOTO)
        page.get_by_role("button", name="Face 1 of 1").wait_for()
        found = [round(page.evaluate(MOVED, [str(at % 60 - 29.5)]), 1) for at in range(moves)]
        browser.close()
    return found


def starts_of(versions: Mapping[str, Path], starts: int) -> dict[str, dict[str, Taken]]:
    """Starts of every version, in turns; the first of each warms the file cache and is not counted."""
    taken = {version: {stage: Taken() for stage in STAGES} for version in versions}
    for number in range(starts + 1):
        for version, source in versions.items():
            for stage, (seconds, processor) in first_portrait(source).items():
                if number:
                    taken[version][stage].seconds.append(seconds)
                    taken[version][stage].processor.append(processor)
    return taken


def measured(versions: Mapping[str, Path], starts: int, moves: int) -> dict[str, Any]:
    """All figures."""
    content: dict[str, Any] = {"machine": asdict(describe(torch.device("cpu"))), "cores": os.cpu_count()}
    content |= summary(starts_of(versions, starts))
    for version, source in versions.items() if moves else ():
        content[version]["milliseconds_of_a_frame"] = asdict(figure(live_face(source, moves)))
    return content | {"load_at_the_end": round(os.getloadavg()[0], 1)}


def main() -> None:
    """Run, and write the figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--starts", type=int, default=5, help="services of each version")
    parser.add_argument("--moves", type=int, default=100, help="moves of the slider; 0 needs no browser")
    parser.add_argument("--other", type=Path, help="folder src of another version, whose starts take turns")
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    versions = {"this": SOURCE} | ({"other": given.other.resolve()} if given.other else {})
    write_json(given.output, measured(versions, given.starts, given.moves))


if __name__ == "__main__":
    main()
