"""Ray Serve on a cluster of this machine: a replica is killed under load, and no job is lost."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

pytest.importorskip("ray.serve", reason="the extra ray is not installed")

from diffpc.errors import UsageError
from diffpc.serve.painter import LocalPainter, ModelSettings
from diffpc.serve.ray_painter import RayPainter, RaySettings
from diffpc.serve.request import Limits, PortraitRequest
from diffpc.serve.studio import Studio
from diffpc.types import Image
from diffpc.weights import sha256
from tests.pipelines import random_pipeline, write_lora
from tests.serve.conftest import finished


@pytest.fixture(scope="module")
def ink(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("peft", reason="the extra lora is not installed")
    return write_lora(random_pipeline(), tmp_path_factory.mktemp("loras") / "ink.safetensors")


@pytest.fixture(scope="module")
def studio(random_model: Path, ink: Path) -> Iterator[Studio]:
    model = ModelSettings(model=str(random_model), styles={"ink": (ink,)}, device="cpu", threads=1)
    made = Studio(lambda: RayPainter(model, RaySettings(replicas=2)), Limits(), workers=2, batch=2)
    made.start()
    assert made.ready(None)
    yield made
    made.close(30.0)


def replicas() -> list[psutil.Process]:
    children = psutil.Process().children(recursive=True)
    return [one for one in children if "ServeReplica:diffpc" in " ".join(one.cmdline())]


def test_a_replica_killed_under_load_loses_no_job(
    studio: Studio, painter: LocalPainter, astronaut: Image
) -> None:
    someone = PortraitRequest(identity=painter.pipeline.identify([astronaut]), steps=3, previews=False)
    names = [studio.submit(replace(someone, seed=seed)) for seed in range(8)]
    while not any(studio.status(name).step for name in names):
        studio.wait(names[0], studio.status(names[0]).version, 0.2)
    first, *_ = replicas()
    first.kill()
    ended = [finished(studio, name) for name in names]
    assert [(one.state, one.error) for one in ended] == [("done", None)] * 8
    assert [one.results[0].portrait.seed for one in ended] == list(range(8))
    assert studio.jobs.counts["accepted"] == studio.jobs.counts["done"] == 8


def test_replicas_draw_in_styles(studio: Studio, painter: LocalPainter, astronaut: Image, ink: Path) -> None:
    someone = PortraitRequest(identity=painter.pipeline.identify([astronaut]), steps=1, previews=False)
    assert studio.painter.making.styles == {"ink": (("ink.safetensors", sha256(ink)),)}
    names = [studio.submit(replace(someone, style=style)) for style in (None, "ink")]
    plain, inked = (finished(studio, name) for name in names)
    assert (plain.error, inked.error) == (None, None)
    assert (plain.results[0].portrait.image != inked.results[0].portrait.image).any()
    with pytest.raises(UsageError, match="unknown style 'oil'; choose one of: ink"):
        studio.submit(replace(someone, style="oil"))
