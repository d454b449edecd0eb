"""One painter with random weights for all tests here, and the application over it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from diffpc.images import encode_png, resize
from diffpc.serve.app import make_app
from diffpc.serve.jobs import Status
from diffpc.serve.painter import LocalPainter, ModelSettings
from diffpc.serve.request import Limits
from diffpc.serve.studio import Studio
from diffpc.types import Image


def finished(studio: Studio, name: str) -> Status:
    """How a job ended; asleep until there is news of it."""
    status = studio.wait(name)
    while status.state in ("queued", "running"):
        status = studio.wait(name, status.version)
    return status


@pytest.fixture(scope="session")
def painter(random_model: Path) -> Iterator[LocalPainter]:
    made = LocalPainter(ModelSettings(model=str(random_model)))
    yield made
    made.close()


@pytest.fixture(scope="session")
def served(painter: LocalPainter) -> Iterator[Studio]:
    """A studio for the tests of HTTP; it is never closed before all are done."""
    studio = Studio(
        lambda: painter, Limits(queue=8, upload_bytes=2 * 2**20, pixels=1_000_000, steps=4, count=2)
    )
    studio.start()
    assert studio.ready(None)
    yield studio
    studio.jobs.close()


@pytest.fixture(scope="session")
def client(served: Studio) -> Iterator[TestClient]:
    with TestClient(make_app(served), raise_server_exceptions=False) as made:
        yield made


@pytest.fixture(scope="session")
def two_faced(astronaut: Image) -> bytes:
    """A PNG of two faces, the smaller at the right."""
    small = np.zeros((512, 340, 3), np.uint8)
    small[100:440] = resize(astronaut, 340, 340)
    return encode_png(np.concatenate([astronaut, small], axis=1))
