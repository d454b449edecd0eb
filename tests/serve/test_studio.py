"""The queue and the painter, in process, with the bundled model's layout and random weights."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from diffpc.serve.jobs import Status
from diffpc.serve.painter import LocalPainter, ModelSettings
from diffpc.serve.request import Limits, Photo, PortraitRequest
from diffpc.serve.studio import Studio
from diffpc.types import Image


@pytest.fixture(scope="module")
def painter(random_model: Path) -> Iterator[LocalPainter]:
    made = LocalPainter(ModelSettings(model=str(random_model)))
    yield made
    made.close()


@pytest.fixture
def studio(painter: LocalPainter) -> Iterator[Studio]:
    made = Studio(lambda: painter, Limits(queue=3))
    made.start()
    assert made.ready(None)
    yield made
    made.jobs.close()


def finished(studio: Studio, name: str) -> Status:
    status = studio.wait(name)
    while status.state in ("queued", "running"):
        status = studio.wait(name, status.version)
    return status


def request_of(image: Image, **values: object) -> PortraitRequest:
    return PortraitRequest(references=(Photo("me.jpg", image, "0" * 64),), steps=2, **values)  # pyright: ignore


def test_a_request_becomes_portraits(studio: Studio, painter: LocalPainter, astronaut: Image) -> None:
    status = finished(studio, studio.submit(request_of(astronaut, seed=5, count=2, prompt="a painting")))
    assert (status.state, status.error) == ("done", None)
    assert [one.portrait.seed for one in status.results] == [5, 6]
    pipeline = painter.pipeline
    person = pipeline.identify([astronaut])
    alone = pipeline(person, person.params, "a painting", status.results[1].portrait.settings)
    assert np.array_equal(alone.portraits[0].image, status.results[1].drawn.portraits[0].image)
    assert status.step is not None and status.step.fraction == 1.0
