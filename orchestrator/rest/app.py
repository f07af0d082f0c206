"""Routes, as docs/architecture.md lists them. Each reads its request, asks the ``Service`` and answers."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from fastapi import Depends, FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from orchestrator.access.caller import Caller
from orchestrator.access.scopes import REST_CALLS
from orchestrator.errors import DeadlineError, InternalError, RequestError, SensoriumError
from orchestrator.metrics import CONTENT_TYPE
from orchestrator.rest.answers import error_response, message_response, plain_error
from orchestrator.rest.bodies import read_feedback, read_item, read_search
from orchestrator.rest.files import Files
from orchestrator.rest.guard import Guard
from orchestrator.rest.openapi import describe
from orchestrator.service import Service
from orchestrator.settings import ApiSettings
from orchestrator.under_way import UnderWay
from sensorium.v1 import sensorium_pb2 as pb

__all__ = ["RELEASE_HEADER", "TIMEOUT_HEADER", "build_app"]

TIMEOUT_HEADER = "sensorium-timeout-ms"
RELEASE_HEADER = "x-sensorium-release"
"""Sent with a search, it names the release that is to answer."""
_WEB = Path(__file__).resolve().parents[1] / "web"
_PAGE_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        "media-src 'self' blob:; connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "cache-control": "no-cache",
}

_GONE = 499  # as nginx has it; nobody is left to read it

T = TypeVar("T")


def build_app(service: Service, files: Files, settings: ApiSettings) -> ASGIApp:
    """The ASGI application. It serves no documentation page: those load files from elsewhere."""

    async def allow(request: Request) -> None:
        """Before each route, and before its body is read."""
        call = REST_CALLS.get((request.method, request.scope["route"].path))
        try:
            request.state.caller = service.allow(call, request.headers.getlist("authorization"))
        except SensoriumError as error:
            address = request.client.host if request.client else ""
            raise service.access.refusal(call, error, address) from error

    app = FastAPI(
        title="Sensorium",
        version=version("sensorium"),
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        dependencies=[Depends(allow)],
    )
    described = describe(version("sensorium"))

    @app.post("/v1/search")
    async def search(request: Request) -> Response:
        timeout_s = _timeout_s(request)
        message = await read_search(request)
        release, caller = request.headers.get(RELEASE_HEADER, ""), _caller(request)
        return message_response(
            await _unless_gone(request, service.search(message, timeout_s, release, caller=caller))
        )

    @app.put("/v1/items/{item_id}")
    async def upsert(request: Request, item_id: str) -> Response:
        timeout_s = _timeout_s(request)
        item = await read_item(request, item_id)
        return message_response(
            await _unless_gone(request, service.upsert_one(item, _caller(request)), timeout_s)
        )

    @app.get("/v1/items/{item_id}")
    async def get(request: Request, item_id: str) -> Response:
        timeout_s = _timeout_s(request)
        work = service.get(pb.GetRequest(id=item_id), _caller(request))
        return message_response(await _unless_gone(request, work, timeout_s))

    @app.delete("/v1/items/{item_id}")
    async def delete(request: Request, item_id: str) -> Response:
        timeout_s = _timeout_s(request)
        work = service.delete(pb.DeleteRequest(ids=[item_id]), _caller(request))
        return message_response(await _unless_gone(request, work, timeout_s))

    @app.get("/v1/items/{item_id}/media/{index}")
    async def media(request: Request, item_id: str, index: str) -> Response:
        if not index.isascii() or not index.isdecimal() or len(index) > 6:
            raise RequestError("the index of a media file is a number")
        item = await service.item_with_media(item_id, _caller(request))
        return files.media(item, int(index), request.headers.get("if-none-match", ""))

    @app.get("/v1/items/{item_id}/thumbnail")
    async def thumbnail(request: Request, item_id: str) -> Response:
        item = await service.item_with_media(item_id, _caller(request))
        return await files.thumbnail(item, request.headers.get("if-none-match", ""))

    @app.post("/v1/feedback")
    async def feedback(request: Request) -> Response:
        return message_response(await service.feedback(await read_feedback(request), _caller(request)))

    @app.delete("/v1/users/{user}")
    async def erase_user(request: Request, user: str) -> Response:
        return message_response(await service.erase_user(pb.EraseUserRequest(user=user), _caller(request)))

    @app.get("/v1/status")
    async def status(request: Request) -> Response:
        return message_response(await service.status(_caller(request)))

    @app.get("/healthz")
    async def healthz() -> Response:
        return JSONResponse({"status": "alive"})

    @app.get("/readyz")
    async def readyz() -> Response:
        ready = await service.ready()
        return JSONResponse({"status": "ready" if ready else "not ready"}, 200 if ready else 503)

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(service.metrics.render(), headers={"content-type": CONTENT_TYPE})

    @app.get("/openapi.json")
    async def openapi() -> Response:
        return JSONResponse(described)

    @app.get("/")
    async def page() -> Response:
        return FileResponse(_WEB / "index.html", headers=_PAGE_HEADERS)

    app.mount("/static", StaticFiles(directory=_WEB))

    @app.exception_handler(SensoriumError)
    async def typed(_: Request, error: SensoriumError) -> Response:
        return error_response(error)

    @app.exception_handler(HTTPException)
    async def untyped(_: Request, error: HTTPException) -> Response:
        # Starlette's own: no such path, no such method, a form that cannot be parsed.
        return plain_error(f"http.{error.status_code}", str(error.detail), error.status_code)

    @app.exception_handler(Exception)
    async def defect(_: Request, error: Exception) -> Response:
        return error_response(InternalError("an internal error"))  # uvicorn logs it

    return Guard(
        app,
        allowed_hosts=settings.allowed_hosts,
        max_body_bytes=settings.max_request_bytes,
        under_way=UnderWay(settings.max_requests, service.turned_away),
    )


def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


def _timeout_s(request: Request) -> float | None:
    value = request.headers.get(TIMEOUT_HEADER)
    if value is None:
        return None
    try:
        timeout_ms = float(value)
    except ValueError:
        timeout_ms = math.nan
    if not 0 < timeout_ms < math.inf:
        raise RequestError(f"{TIMEOUT_HEADER} is not a positive number of milliseconds")
    return timeout_ms / 1000


async def _unless_gone(request: Request, work: Coroutine[Any, Any, T], timeout_s: float | None = None) -> T:
    """The result of ``work``, cancelled when the caller hangs up: ASGI tells of it but does not cancel.

    Raises:
        DeadlineError: ``timeout_s`` is over.
    """

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    task, watch = asyncio.create_task(work), asyncio.create_task(gone())
    try:
        await asyncio.wait((task, watch), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if not task.done() and not watch.done():
            raise DeadlineError("the time for this request is over")
        if not task.done():
            raise HTTPException(_GONE, "the caller hung up")
        return task.result()
    finally:
        task.cancel()
        watch.cancel()
        await asyncio.gather(task, watch, return_exceptions=True)
