"""What a visitor is shown when the page opens."""

from collections.abc import Iterator

import pytest

pytest.importorskip("gradio", reason="the page's package is not installed: pip install 'diffpc[serve]'")

import gradio as gr

from diffpc.serve.page.layout import laid_out
from diffpc.serve.page.posing import Posing
from diffpc.serve.page.uploads import Tray
from diffpc.serve.studio import Studio


@pytest.fixture
def posing(served: Studio) -> Iterator[Posing]:
    with gr.Blocks():
        yield Posing(laid_out(), served, Tray())


def test_no_style_is_offered_where_there_is_none(posing: Posing) -> None:
    update = posing.open()[posing.parts.style]
    assert (update["visible"], update["choices"]) == (False, [("No style", "")])
