"""The application: the page, the REST interface, errors as problem+json, behind one guard; counters, and a log."""

import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from http import HTTPStatus
from importlib.resources import files
from typing import Any

import prometheus_client as prometheus
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from solfa.core.errors import CollectionBusy, DecodeError, FileUnavailable, InputError, SolfaError, UnknownTrack
from solfa.serve.engine import Engine, ServeSettings
from solfa.serve.rest import Call, api
from solfa.serve.security import Access, Guard
from solfa.serve.subsonic import players

_STATUS = {UnknownTrack: 404, FileUnavailable: 404, DecodeError: 415, CollectionBusy: 409, InputError: 400,
           SolfaError: 503}  # fmt: skip
_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
_BUCKETS_S = (0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5)
PUBLIC = ("/healthz", "/readyz", "/rest/")  # what needs no secret, or asks for it in another way
_log = logging.getLogger("solfa.serve")


def problem(status: int, detail: str) -> Response:
    """An error as RFC 9457 has it."""
    value = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    headers = {429: {"retry-after": "1"}, 503: {"retry-after": "1"}, 401: {"www-authenticate": 'Basic realm="solfa"'}}
    return Response(json.dumps(value), status, headers.get(status), "application/problem+json")


class Recorder:
    """Counts, times and logs the requests of an application by their route, never by what they carry."""

    def __init__(self, app: ASGIApp, registry: prometheus.CollectorRegistry) -> None:
        self._app = app
        names = ["method", "route", "status"]
        self._times = prometheus.Histogram("solfa_request_seconds", "Time to answer requests.", names,
                                           buckets=_BUCKETS_S, registry=registry)  # fmt: skip

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        began_s, status = time.perf_counter(), 500

        async def sending(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._app(scope, receive, sending)
        finally:
            if scope["type"] == "http":
                seconds, route = time.perf_counter() - began_s, getattr(scope.get("route"), "path", "other")
                method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST") else "other"
                self._times.labels(method, route, status).observe(seconds)
                fields = {"method": method, "route": route, "status": status, "ms": round(1000 * seconds, 1)}
                _log.info("request", extra={"fields": fields})


def create_app(settings: ServeSettings, access: Access | None = None) -> FastAPI:
    """The application over one collection; its engine, ``app.state.engine``, runs while the application does.

    ``access``: who may ask; the secrets of the environment where None.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(engine.start)
        async with tools.session_manager.run() if tools else nullcontext():
            yield
        await run_in_threadpool(engine.stop)

    access, engine, registry = access or Access.of_environment(), Engine(settings), prometheus.CollectorRegistry()
    prometheus.ProcessCollector(registry=registry)
    app = FastAPI(title="solfa", version="1", docs_url=None, redoc_url=None, lifespan=lifespan,
                  openapi_url="/api/v1/openapi.json", redirect_slashes=False)  # fmt: skip
    app.state.engine, app.state.access = engine, access
    app.include_router(api)
    app.include_router(players)
    tools: Any = None
    if settings.mcp:  # a half second of imports that others need not wait for
        from mcp.server.transport_security import TransportSecuritySettings

        from solfa.serve.mcp import assistant

        tools = assistant(engine)  # it may change nothing: readers can reach it
        checked = TransportSecuritySettings(enable_dns_rebinding_protection=False)  # by the guard
        app.router.routes.extend(
            tools.streamable_http_app(json_response=True, stateless_http=True, transport_security=checked).routes
        )
    folder = files("solfa.serve").joinpath("page")
    page = {entry.name: entry.read_text(encoding="utf-8") for entry in folder.iterdir()
            if entry.name.rpartition(".")[2] in _TYPES}  # fmt: skip
    get = partial(app.api_route, methods=["GET", "HEAD"], include_in_schema=False)

    @get("/")
    @get("/page/{name}")
    async def static(request: Request, name: str = "index.html") -> Response:
        kind = _TYPES[name.rpartition(".")[2]] if name in page else ""
        return Call(request).answer(page[name], kind) if kind else problem(404, "no such page.")

    @get("/healthz")
    async def healthz() -> Response:
        return Response('{"status": "ok"}', media_type="application/json")

    @get("/readyz")
    async def readyz() -> Response:
        ready = Response('{"status": "ready"}', media_type="application/json")
        return ready if engine.ready.is_set() else problem(503, "a search would wait: the model is being loaded.")

    @get("/metrics")
    async def metrics() -> Response:
        return Response(prometheus.generate_latest(registry), media_type=prometheus.CONTENT_TYPE_LATEST)

    @app.exception_handler(SolfaError)
    async def said(_: Request, error: SolfaError) -> Response:
        status = next(status for kind, status in _STATUS.items() if isinstance(error, kind))
        return problem(getattr(error, "status", status), str(error))

    @app.exception_handler(HTTPException)
    async def refused(_: Request, error: HTTPException) -> Response:
        headers, detail = dict(error.headers or {}), str(error.detail)
        if error.status_code == 405:
            methods = {*headers["Allow"].split(", ")}
            headers["Allow"] = ", ".join(sorted(methods | {"GET"} if "HEAD" in methods else methods))
            detail = f"this address takes {headers['Allow']}."
        elif detail == "Not Found":
            detail = "nothing is at this address. What there is: /api/v1/openapi.json"
        answer = problem(error.status_code, detail)
        answer.headers.update(headers)
        return answer

    @app.exception_handler(RequestValidationError)
    async def misread(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        kind, place = first["type"], ".".join(str(part) for part in first["loc"][1:])
        if kind == "json_invalid":
            return problem(422, f"the request is no JSON: {first['ctx']['error']} at character {place}.")
        if kind == "model_attributes_type":
            return problem(422, "expected a JSON object, sent with the header content-type: application/json.")
        got = "" if kind == "missing" else f", got {str(first['input'])[:80]!r}"
        return problem(422, f"{place or 'the request'}: {first['msg']}{got}")

    @app.exception_handler(Exception)
    async def broken(_: Request, error: Exception) -> Response:
        return problem(500, "something went wrong; the log says what.")

    large = {"/api/v1/examples": settings.upload_bytes}
    app.add_middleware(Guard, access=access, host=settings.host, names=settings.names, public=PUBLIC, large=large,
                       refuse=problem)  # fmt: skip
    app.add_middleware(Recorder, registry=registry)
    return app
