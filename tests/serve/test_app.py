"""When the page is made: after the model, and not beside portraits."""

import asyncio
import threading
from collections.abc import Sequence

from diffpc.serve.app import turn_after
from diffpc.serve.note import Making
from diffpc.serve.painter import Outcome, Watcher
from diffpc.serve.request import PortraitRequest
from diffpc.serve.studio import Studio


class Drawing:
    """A painter that draws nothing until it is let."""

    default_size, defaults, notes, eyes = (128, 128), {}, (), None
    making = Making("tiny", None, "cpu", "float32", {}, (), {})

    def __init__(self) -> None:
        self.go = threading.Event()

    def draw(self, group: Sequence[PortraitRequest], watcher: Watcher) -> list[Outcome]:
        assert self.go.wait(30)
        return [[] for _ in group]

    def close(self) -> None:
        """Nothing is held."""


def test_the_page_s_turn_comes_after_the_model_and_the_portraits() -> None:
    load, painter = threading.Event(), Drawing()

    def make() -> Drawing:
        assert load.wait(30)
        return painter

    studio = Studio(make)  # pyright: ignore[reportArgumentType]
    studio.start()
    studio.jobs.add(PortraitRequest(prompt="a photo"), 1)

    async def waits() -> None:
        turn = asyncio.create_task(turn_after(studio, patience=30))
        for event in (load, painter.go):
            await asyncio.sleep(0.2)
            assert not turn.done()
            event.set()
        await turn
        assert not studio.jobs.busy

    asyncio.run(waits())
    studio.close()


def test_the_page_does_not_wait_for_ever() -> None:
    painter = Drawing()
    studio = Studio(lambda: painter)  # pyright: ignore[reportArgumentType]
    studio.start()
    studio.jobs.add(PortraitRequest(prompt="a photo"), 1)
    asyncio.run(turn_after(studio, patience=0.1))
    assert studio.jobs.busy
    painter.go.set()
    studio.close()
