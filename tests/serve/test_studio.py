"""The queue and the painter, in process, with the bundled model's layout and random weights."""

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest

from diffpc.errors import InputError, UsageError
from diffpc.face3d.pose import Angles
from diffpc.images import decode_image
from diffpc.serve.jobs import Busy, Step, Unknown
from diffpc.serve.note import Making
from diffpc.serve.painter import LocalPainter, Outcome, Watcher
from diffpc.serve.request import Known, Limits, Photo, PortraitRequest, Wish
from diffpc.serve.studio import Studio
from diffpc.serve.watermark import is_marked
from diffpc.types import Image
from tests.serve.conftest import finished


class Slow:
    """A painter that draws nothing and waits where a test wants it to; the queue is what is tested."""

    default_size, defaults, notes, eyes = (128, 128), {}, (), None
    making = Making("tiny", None, "cpu", "float32", {}, (), {})

    def __init__(self) -> None:
        self.go = threading.Event()
        self.groups: list[int] = []

    def draw(self, group: Sequence[PortraitRequest], watcher: Watcher) -> list[Outcome]:
        self.groups.append(len(group))
        for number in range(len(group)):
            watcher.report(number, Step(0, 1, 1, 2))
        while not self.go.wait(0.01):
            if all(watcher.stopped(number) for number in range(len(group))):
                break
        if group[0].prompt == "break":
            raise ZeroDivisionError
        return [[] for _ in group]

    def close(self) -> None:
        self.go.set()


def studio_of(painter: object, limits: Limits, **options: int) -> Studio:
    studio = Studio(lambda: painter, limits, **options)  # pyright: ignore[reportArgumentType]
    studio.start()
    assert studio.ready(None)
    return studio


@pytest.fixture
def slow() -> Iterator[Slow]:
    painter = Slow()
    yield painter
    painter.go.set()


def running(studio: Studio, name: str) -> None:
    status = studio.wait(name)
    while status.state == "queued":
        status = studio.wait(name, status.version)


def request_of(image: Image, **values: object) -> PortraitRequest:
    return PortraitRequest(references=(Photo("me.jpg", image, "0" * 64),), steps=2, **values)  # pyright: ignore


@pytest.fixture(scope="module")
def someone(painter: LocalPainter, astronaut: Image) -> PortraitRequest:
    return PortraitRequest(identity=painter.pipeline.identify([astronaut]), steps=2)


def test_a_request_becomes_portraits(served: Studio, painter: LocalPainter, astronaut: Image) -> None:
    status = finished(served, served.submit(request_of(astronaut, seed=5, count=2, prompt="a painting")))
    assert (status.state, status.error) == ("done", None)
    assert [one.portrait.seed for one in status.results] == [5, 6]
    person = painter.pipeline.identify([astronaut])
    settings = status.results[1].portrait.settings
    alone = painter.pipeline(person, person.params, "a painting", settings).portraits[0]
    second = status.results[1]
    assert np.array_equal(alone.image, second.drawn.portraits[0].image)
    assert is_marked(second.portrait.image) and not is_marked(alone.image)
    assert np.array_equal(decode_image(second.png, "it"), second.portrait.image)
    assert status.step is not None and status.step.fraction == 1.0


def test_pose_and_expression_reach_the_3d_face(served: Studio, someone: PortraitRequest) -> None:
    wish = Wish(pose=Angles(20.0, 0.0, 0.0), scores={"jawOpen": 0.5})
    found = finished(served, served.submit(replace(someone, wish=wish))).results[0].drawn.control.params
    assert found.rotation[1] == pytest.approx(np.radians(20), abs=1e-5)
    model = served.eyes.model
    assert np.allclose(found.expression, model.expressed({"jawOpen": 0.5}).expression)
    assert someone.identity is not None
    assert np.array_equal(found.shape, someone.identity.params.shape)


def test_a_group_equals_its_members_up_to_rounding(
    painter: LocalPainter, someone: PortraitRequest, slow: Slow
) -> None:
    quiet = type("Quiet", (), {"report": lambda *_: None, "stopped": lambda *_: False})()
    requests = [replace(someone, seed=seed, prompt=text, steps=1) for seed, text in ((1, "a"), (2, "a wood"))]
    faulty = PortraitRequest(references=(Photo("grey", np.full((64, 64, 3), 128, np.uint8)),), steps=1)
    *group, fault = painter.draw([*requests, faulty], quiet)
    assert isinstance(fault, InputError) and "no face found in grey" in str(fault)
    for request, together in zip(requests, group, strict=True):
        (alone,) = painter.draw([request], quiet)
        assert not isinstance(alone, Exception) and not isinstance(together, Exception)
        one, other = (found[0].drawn.portraits[0].image.astype(int) for found in (alone, together))
        assert np.abs(one - other).max() <= 1


def test_compatible_jobs_are_drawn_together(slow: Slow, someone: PortraitRequest) -> None:
    studio = studio_of(slow, Limits(), batch=2)
    first = studio.submit(someone)
    running(studio, first)
    others = [studio.submit(replace(someone, steps=steps)) for steps in (2, 3, 2, 2)]
    slow.go.set()
    assert {finished(studio, name).state for name in (first, *others)} == {"done"}
    assert slow.groups == [1, 2, 1, 1]


def test_a_full_queue_refuses_and_says_when(slow: Slow, someone: PortraitRequest) -> None:
    studio = studio_of(slow, Limits(queue=2))
    names = [studio.submit(someone)]
    running(studio, names[0])
    names += [studio.submit(someone) for _ in range(2)]
    with pytest.raises(Busy, match="2 jobs are waiting") as refused:
        studio.submit(someone)
    assert refused.value.retry_after >= 1
    assert [studio.status(name).position for name in names] == [0, 0, 1]
    slow.go.set()
    assert [finished(studio, name).state for name in names] == ["done"] * 3
    assert studio.jobs.counts == {"accepted": 3, "refused": 1, "done": 3, "failed": 0, "cancelled": 0}


def test_photos_that_wait_have_a_limit_too(slow: Slow) -> None:
    studio = studio_of(slow, Limits(queue_bytes=64 * 64 * 3 * 2))
    request = request_of(np.zeros((64, 64, 3), np.uint8))
    running(studio, studio.submit(request))
    studio.submit(request)
    studio.submit(request)
    with pytest.raises(Busy):
        studio.submit(request)


def test_waiting_and_running_jobs_are_cancelled(slow: Slow, someone: PortraitRequest) -> None:
    studio = studio_of(slow, Limits())
    first, second = studio.submit(someone), studio.submit(someone)
    running(studio, first)
    studio.cancel(second)
    assert studio.status(second).state == "cancelled"
    studio.cancel(first)
    assert finished(studio, first).state == "cancelled"
    studio.cancel(first)
    with pytest.raises(Unknown, match="send the request again"):
        studio.status(first)


def test_a_real_drawing_stops_between_steps(painter: LocalPainter, someone: PortraitRequest) -> None:
    seen: list[int] = []
    stopping = type(
        "Stop",
        (),
        {"report": lambda _, n, step: seen.append(step.done), "stopped": lambda *_: len(seen) == 1},
    )
    (outcome,) = painter.draw([replace(someone, steps=4)], stopping())
    assert isinstance(outcome, Exception) and seen == [1]


def test_an_unforeseen_fault_ends_one_job_only(slow: Slow, someone: PortraitRequest) -> None:
    studio = studio_of(slow, Limits())
    slow.go.set()
    broken = finished(studio, studio.submit(replace(someone, prompt="break")))
    assert (broken.state, broken.error and "tell its operator" in broken.error) == ("failed", True)
    assert finished(studio, studio.submit(someone)).state == "done"


def test_stopping_tells_those_who_wait(slow: Slow, someone: PortraitRequest) -> None:
    studio = studio_of(slow, Limits())
    first, second = studio.submit(someone), studio.submit(someone)
    running(studio, first)
    slow.go.set()
    assert studio.close(10.0)
    assert studio.status(first).state == "done"
    waited = studio.status(second)
    assert waited.state == "done" or "stopped before its turn" in (waited.error or "")
    with pytest.raises(Busy, match="stopping"):
        studio.submit(someone)


def test_results_are_forgotten(slow: Slow, someone: PortraitRequest) -> None:
    slow.go.set()
    studio = studio_of(slow, Limits(kept=2, kept_seconds=0.2))
    names = [studio.submit(someone) for _ in range(3)]
    while studio.jobs.counts["done"] < 3:
        time.sleep(0.01)
    with pytest.raises(Unknown):
        studio.status(names[0])
    time.sleep(0.25)
    with pytest.raises(Unknown):
        studio.status(names[2])


def test_identities_are_held_and_forgotten(slow: Slow, someone: PortraitRequest) -> None:
    studio = studio_of(slow, Limits(identities=1, identity_seconds=0.2))
    assert someone.identity is not None
    known = Known(someone.identity, None)
    name = studio.identities.add(known)
    assert studio.identities.get(name) is known
    with pytest.raises(Busy, match="1 identities are held"):
        studio.identities.add(known)
    time.sleep(0.25)
    with pytest.raises(Unknown, match="make it again"):
        studio.identities.get(name)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"references": ()}, "no reference photo and no identity"),
        ({"steps": 61}, "steps: 61 is over this service's limit of 4"),
        ({"count": 3}, "count: 3 is over"),
        ({"prompt": "x" * 2001}, "prompt characters: 2001 is over"),
        ({"size": (2048, 128)}, "longest side: 2048 is over"),
        ({"size": (100, 128)}, "multiples of 64"),
        ({"strength": 3.0}, "strength is 3.0"),
        ({"wish": Wish(expression="grin")}, "unknown expression 'grin'"),
        ({"wish": Wish(pose=Angles(91.0, 0.0, 0.0))}, "yaw is 91"),
        ({"wish": Wish(pose=Angles(float("nan"), 0.0, 0.0))}, "yaw is nan"),
        ({"wish": Wish(scores={"jawOpen": 9.0})}, "score jawOpen is 9.0"),
        ({"wish": Wish(expression="smile", scores={"jawOpen": 0.1})}, "exclude each other"),
    ],
)
def test_what_cannot_be_drawn_is_refused_at_once(
    served: Studio, astronaut: Image, values: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        served.submit(replace(request_of(astronaut), **values))  # pyright: ignore[reportArgumentType]


def test_a_model_that_cannot_be_loaded_is_told() -> None:
    def broken() -> LocalPainter:
        raise InputError("no such model")

    studio = Studio(broken)
    studio.start()
    with pytest.raises(InputError, match="no such model"):
        studio.ready(None)
