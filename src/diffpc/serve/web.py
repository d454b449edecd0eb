"""The web page of the studio: Gradio inside the service's own app."""

from __future__ import annotations

import os
from pathlib import Path

# Read when Gradio is imported: it would otherwise report its use, and look for newer versions.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr
from fastapi import FastAPI, Response
from starlette.routing import Mount

from diffpc.errors import DiffPCError
from diffpc.serve.page.drawing import Drawing
from diffpc.serve.page.layout import laid_out
from diffpc.serve.page.posing import Posing
from diffpc.serve.page.results import PORTRAITS
from diffpc.serve.page.uploads import Gate, Tray, add_uploads
from diffpc.serve.studio import Studio

HERE = Path(__file__).parent / "page"

TITLE = "Diff-PC studio"


def mount(app: FastAPI, studio: Studio) -> None:
    """Put the page at the root of `app`, after all routes that the app has of its own.

    Photos go by a route of ours straight to memory; Gradio's own uploads, file service and proxy are shut.
    """
    tray = Tray()
    add_uploads(app, tray, studio.limits.upload_bytes)
    _add_portraits(app, studio)
    gr.mount_gradio_app(
        app,
        page(studio, tray),
        path="/",
        theme=theme(),
        css_paths=HERE / "page.css",
        head=f"<script>{(HERE / 'page.js').read_text(encoding='utf-8')}</script>",
        footer_links=[],
        show_error=False,
        ssr_mode=False,
    )
    mounted = app.routes[-1]
    if isinstance(mounted, Mount):
        mounted.app = Gate(mounted.app)


def page(studio: Studio, tray: Tray) -> gr.Blocks:
    """The page: its parts and what they do."""
    with gr.Blocks(title=TITLE, analytics_enabled=False) as blocks:
        posing = Posing(laid_out(), studio, tray)
        posing.wire(blocks)
        Drawing(posing).wire()
    return blocks


def theme() -> gr.themes.Base:
    """Gradio's plainest theme with the fonts of the visitor's own system."""
    font = ("ui-sans-serif", "system-ui", "sans-serif")
    mono = ("ui-monospace", "Consolas", "monospace")
    return gr.themes.Base(primary_hue="violet", neutral_hue="stone", font=font, font_mono=mono)


def _add_portraits(app: FastAPI, studio: Studio) -> None:
    @app.get(f"/{PORTRAITS}/{{job}}/{{number}}.png", include_in_schema=False)
    def portrait(job: str, number: int) -> Response:  # pyright: ignore[reportUnusedFunction] - a route
        """A finished portrait, byte for byte as it was made; the job's name is the visitor's secret."""
        try:
            found = studio.status(job).results
        except DiffPCError:
            return Response(status_code=404)
        if not 0 <= number < len(found) or found[number].withheld:
            return Response(status_code=404)
        # The browser may show it again without asking: the service forgets it after a while.
        keep = {"Cache-Control": "private, max-age=3600, immutable"}
        return Response(found[number].png, media_type="image/png", headers=keep)
