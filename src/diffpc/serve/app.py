"""The whole application: guard, API, page."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from diffpc.errors import DiffPCError
from diffpc.imports import kept
from diffpc.serve.api import add_api
from diffpc.serve.arriving import Arriving
from diffpc.serve.guard import OPEN, ApiKeys, Guard
from diffpc.serve.studio import Studio

PATIENCE = 10.0
"""Seconds that the page waits for portraits, at most: there may always be some."""

PAUSE = 0.05
"""Seconds between two looks at what the page waits for."""

PAGE = "diffpc.serve.web"
"""Its `mount(app, studio)` puts the page at the root of an app."""

CONSENT = (
    "Use photos of people only with their consent, and do not pass portraits off as photographs; "
    "a face is biometric data."
)


@dataclass(frozen=True)
class Access:
    """Who may use the service."""

    hosts: Sequence[str] = ("127.0.0.1", "localhost", "[::1]", "testserver")
    """Names in the Host header; others are refused, so that no foreign page reaches it by rebinding its name."""
    origins: Sequence[str] = ()
    """Other sites whose scripts may call the API."""
    keys: ApiKeys = field(default_factory=lambda: ApiKeys(()))
    """None: everyone."""


def make_app(studio: Studio, access: Access | None = None, page: bool = False) -> FastAPI:
    """The application over a studio.

    Args:
        studio: started by the caller.
        access: who may use it.
        page: put the page at /, where it is installed; it is made when its turn has come.
    """
    access = access or Access()
    arriving = _arriving(studio) if page and page_installed() else None
    app = FastAPI(
        title="Diff-PC",
        version=version("diffpc"),
        description=f"Portraits that keep a person's identity and obey a 3D face and a text. {CONSENT}",
        docs_url=None if arriving else "/docs",
        redoc_url=None,
        lifespan=arriving.lifespan if arriving else None,
    )
    add_api(app, studio)
    guarded = ("/v1/", "/metrics", "/openapi.json", *OPEN)
    app.add_middleware(Guard, keys=access.keys, body_bytes=studio.limits.upload_bytes, guarded=guarded)
    if access.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(access.origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type"],
        )
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(access.hosts), www_redirect=False)
    if arriving:
        app.mount("/", arriving)  # after all other routes
    return app


def _arriving(studio: Studio) -> Arriving:
    return Arriving(lambda: page_over(studio), lambda: turn_after(studio))


async def turn_after(studio: Studio, patience: float = PATIENCE) -> None:
    """Return when the model is loaded, and no portrait is being drawn or waits, or has been for `patience` seconds.

    An import holds Python's lock, which a drawing thread needs at thousands of small steps: in company a portrait
    takes as long as the page.
    """
    while not _loaded(studio):
        await asyncio.sleep(PAUSE)
    with suppress(TimeoutError):
        async with asyncio.timeout(patience):
            while studio.jobs.busy:
                await asyncio.sleep(PAUSE)


def _loaded(studio: Studio) -> bool:
    try:
        return studio.ready()
    except DiffPCError:
        return False  # the service ends, and says why


def page_over(studio: Studio) -> FastAPI:
    """The page as an app of its own; it and its package take seconds."""
    app = FastAPI(openapi_url=None)
    with kept("gradio"):
        import_module(PAGE).mount(app, studio)
    return app


def page_installed() -> bool:
    """Whether the page's package is there."""
    return find_spec("gradio") is not None
