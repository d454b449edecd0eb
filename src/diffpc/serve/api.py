"""The REST API over a studio. It opens no path and no URL that a client names."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from prometheus_client import generate_latest
from starlette.exceptions import HTTPException

from diffpc.errors import DiffPCError, InputError, UsageError
from diffpc.images import encode_png
from diffpc.serve import models
from diffpc.serve.jobs import FINISHED, Busy, Status, Unknown
from diffpc.serve.metrics import registry_of
from diffpc.serve.models import (
    ErrorOut,
    HealthOut,
    IdentityOut,
    JobOut,
    PortraitOut,
    StatusOut,
    StylesOut,
)
from diffpc.serve.reading import FILES, PERSON, Invalid, Reader, TooLarge, WrongType
from diffpc.serve.studio import Studio

EVENT_PAUSE = 0.1
"""Seconds between two looks at a job whose events are sent."""

HEARTBEAT = 15.0
"""Seconds without an event after which a comment is sent, so that proxies keep the line open."""

CODES: tuple[tuple[type[DiffPCError], int], ...] = (
    (Busy, 429),
    (Unknown, 404),
    (TooLarge, 413),
    (WrongType, 415),
    (Invalid, 422),
    (UsageError, 422),
    (InputError, 422),
)
"""Error -> HTTP status; the first that fits."""

JobId = Annotated[str, Path(max_length=64)]


def add_api(app: FastAPI, studio: Studio) -> None:
    """Put the API's routes and its way of telling errors into an app."""
    registry, seconds = registry_of(studio)

    @app.middleware("http")
    async def timed(request: Request, call: Callable[[Request], Awaitable[Response]]) -> Response:
        started = time.perf_counter()
        response = await call(request)
        route = getattr(request.scope.get("route"), "path", "other")
        seconds.labels(route, response.status_code).observe(time.perf_counter() - started)
        return response

    app.add_exception_handler(DiffPCError, _explain)
    app.add_exception_handler(RequestValidationError, _explain_validation)
    app.add_exception_handler(HTTPException, _explain_http)
    app.include_router(_watching(studio, lambda: generate_latest(registry)))
    app.include_router(_portraits(studio))
    app.include_router(_results(studio))


def _watching(studio: Studio, metrics: Callable[[], bytes]) -> APIRouter:
    router = APIRouter(tags=["watching"])

    @router.get("/healthz")
    async def healthz() -> HealthOut:
        """Whether the process answers."""
        return HealthOut()

    @router.get("/readyz", responses=_errors(503))
    async def readyz() -> HealthOut:
        """Whether portraits can be drawn: 503 while the model is loading."""
        try:
            if studio.ready():
                return HealthOut()
        except DiffPCError as error:
            raise HTTPException(503, str(error)) from error
        raise HTTPException(503, "the model is still loading; try again in 10 s", {"Retry-After": "10"})

    @router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def prometheus() -> Response:
        """Figures for Prometheus."""
        return Response(metrics(), media_type="text/plain; version=0.0.4")

    return router


def _portraits(studio: Studio) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["portraits"])
    reader = Reader(studio.limits)

    @router.post(
        "/portraits",
        status_code=202,
        responses=_errors(400, 401, 404, 413, 415, 422, 429),
        openapi_extra=_body(models.PortraitIn, models.Options),
    )
    async def ask(request: Request) -> JobOut:
        """Ask for portraits: JSON with photos in base64, or a form with photos as files and `options` as JSON."""
        studio.check_room()
        with reader.place():
            name = studio.submit(await reader.portrait(request, studio))
        return JobOut(id=name, status=f"/v1/jobs/{name}", events=f"/v1/jobs/{name}/events")

    @router.get("/styles", responses=_errors(401, 429))
    async def styles() -> StylesOut:
        """The styles that the operator offers; a request without one is drawn in none of them."""
        return StylesOut(styles=list(studio.painter.making.styles))

    @router.post(
        "/identities",
        status_code=201,
        responses=_errors(400, 401, 413, 415, 422, 429),
        openapi_extra=_body(models.IdentityIn, models.ConsentIn),
    )
    async def identify(request: Request) -> IdentityOut:
        """Make an identity of photos of one person, or of the file that `diffpc identity create` made of them, to
        ask for many portraits with; it is held in memory only."""
        _ = studio.painter  # while the model is loading: at once, before photos are read
        with reader.place():
            known = await anyio.to_thread.run_sync(studio.identify, await reader.person(request))
        return IdentityOut(id=studio.identities.add(known), expires_in=studio.limits.identity_seconds)

    @router.delete("/identities/{name}", status_code=204, responses=_errors(401, 404, 422))
    async def forget(name: JobId) -> None:
        """Forget an identity now."""
        studio.identities.drop(name)

    return router


def _results(studio: Studio) -> APIRouter:
    router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

    @router.get("/{name}", responses=_errors(401, 404, 422))
    async def status(
        name: JobId, preview: Annotated[bool, Query(description="with a picture of the progress")] = True
    ) -> StatusOut:
        """How a job is."""
        return _shown(studio.status(name), preview)

    @router.get(
        "/{name}/events",
        response_class=StreamingResponse,
        responses={200: {"content": {"text/event-stream": {}}}, **_errors(401, 404, 422)},
    )
    async def events(name: JobId) -> StreamingResponse:
        """Server-sent events: `status` with a StatusOut at every change, until the job is finished."""
        studio.status(name)  # 404 before the stream begins
        return StreamingResponse(
            _events(studio, name), media_type="text/event-stream", headers={"Cache-Control": "no-store"}
        )

    @router.delete("/{name}", status_code=204, responses=_errors(401, 404, 422))
    async def cancel(name: JobId) -> None:
        """Take a job back; a running one stops after its current step, a finished one is forgotten."""
        studio.cancel(name)

    @router.get(
        "/{name}/portraits/{number}.png",
        response_class=Response,
        responses={200: {"content": {"image/png": {}}}, **_errors(401, 404, 422)},
    )
    async def portrait(name: JobId, number: Annotated[int, Path(ge=0, le=63)]) -> Response:
        """A finished portrait, with the record of its making in it."""
        found = studio.status(name).results
        if number >= len(found):
            raise Unknown(f"no portrait {number} in this job yet; look at its status")
        if found[number].withheld:
            raise Unknown(f"portrait {number} is {found[number].withheld}")
        return Response(
            found[number].png, media_type="image/png", headers={"Cache-Control": "private, no-store"}
        )

    return router


async def _events(studio: Studio, name: str) -> AsyncIterator[bytes]:
    version, quiet = -1, 0.0
    while True:
        try:
            status = studio.status(name)
        except Unknown:  # it was cancelled and forgotten meanwhile
            return
        if status.version != version:
            version, quiet = status.version, 0.0
            shown = await anyio.to_thread.run_sync(_shown, status, True)
            yield f"event: status\nid: {version}\ndata: {shown.model_dump_json()}\n\n".encode()
        if status.state in FINISHED:
            return
        await asyncio.sleep(EVENT_PAUSE)
        quiet += EVENT_PAUSE
        if quiet >= HEARTBEAT:
            quiet = 0.0
            yield b": waiting\n\n"


def _shown(status: Status, preview: bool) -> StatusOut:
    step = status.step
    picture = step.preview if step is not None and preview and status.state == "running" else None
    url = None
    if picture is not None:
        url = f"data:image/png;base64,{base64.b64encode(encode_png(picture)).decode()}"
    return StatusOut(
        id=status.id,
        state=status.state,
        version=status.version,
        position=status.position,
        progress=1.0 if status.state == "done" else step.fraction if step else 0.0,
        preview=url,
        error=status.error,
        portraits=[
            PortraitOut(
                url=None if one.withheld else f"/v1/jobs/{status.id}/portraits/{number}.png",
                withheld=one.withheld,
                seed=one.portrait.seed,
                similarity=one.portrait.likeness.similarity,
                pose_error=one.portrait.likeness.pose_error,
                expression_error=one.portrait.likeness.expression_error,
            )
            for number, one in enumerate(status.results)
        ],
    )


def _errors(*codes: int) -> dict[int | str, dict[str, Any]]:
    return {code: {"model": ErrorOut} for code in codes}


def _body(
    whole: type[models.IdentityIn | models.PortraitIn], options: type[models.Options | models.ConsentIn]
) -> dict[str, Any]:
    """The bodies that `reading.Reader` takes, for OpenAPI: FastAPI would read them whole before any limit."""
    files = {"references": {"type": "array", "items": {"type": "string", "format": "binary"}}}
    single = FILES[1:] if options is models.Options else PERSON[1:]
    files |= {name: {"type": "string", "format": "binary"} for name in single}
    form = {
        "type": "object",
        "required": ["options"],
        "properties": {
            "options": {"type": "string", "description": "JSON, as the other form without photos"},
            **files,
        },
    }
    schema = _inlined(whole.model_json_schema())
    content = {"application/json": {"schema": schema}, "multipart/form-data": {"schema": form}}
    return {"requestBody": {"required": True, "content": content}}


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema without references to definitions of its own."""
    definitions = schema.pop("$defs", {})

    def resolved(part: Any) -> Any:
        if isinstance(part, dict):
            if "$ref" in part:
                return resolved(
                    {
                        **definitions[part["$ref"].rpartition("/")[2]],
                        **{k: v for k, v in part.items() if k != "$ref"},
                    }
                )
            return {key: resolved(value) for key, value in part.items()}
        return [resolved(one) for one in part] if isinstance(part, list) else part

    return resolved(schema)


async def _explain(_request: Request, error: Exception) -> JSONResponse:
    code = next((code for kind, code in CODES if isinstance(error, kind)), 500)
    headers = {"Retry-After": str(error.retry_after)} if isinstance(error, Busy) else None
    return JSONResponse({"detail": " ".join(str(error).split())}, code, headers)


async def _explain_validation(_request: Request, error: Exception) -> JSONResponse:
    first = error.errors()[0] if isinstance(error, RequestValidationError) else {"loc": (), "msg": str(error)}
    place = ".".join(str(part) for part in first["loc"])[:100]
    return JSONResponse({"detail": f"{place}: {first['msg'][:200]}; see /docs"}, 422)


async def _explain_http(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    return JSONResponse({"detail": str(error.detail)}, error.status_code, error.headers)
