"""Running the application: the socket, time limits of connections, logs as JSON lines, counters, a stop in order."""

import asyncio
import json
import logging
import socket
import sys
from collections.abc import Callable
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from solfa.core.errors import InputError
from solfa.serve.app import create_app
from solfa.serve.engine import ServeSettings
from solfa.serve.security import Access, is_loopback

_HEAD_S = 10.0  # for a whole head of a request
_MOST_CONNECTIONS = 1000
_STOP_S = 10


class _Timed(H11Protocol):
    """Closes connections that do not send the head of a request in time: many slow ones would use up all there are."""

    _limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._limit = self.loop.call_later(_HEAD_S, self._expire)

    def data_received(self, data: bytes) -> None:
        if self._limit is None and (self.cycle is None or self.cycle.response_complete):
            self._limit = self.loop.call_later(_HEAD_S, self._expire)
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._forget()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def _forget(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None

    def _expire(self) -> None:
        self._limit = None
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()


class JsonLines(logging.Formatter):
    """A log record as one line of JSON; what a request carried is never in it."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, Any] = {"time": round(record.created, 3), "level": record.levelname.lower(),
                                "event": record.getMessage(), **getattr(record, "fields", {})}  # fmt: skip
        if record.exc_info and record.exc_info[0] is not None:
            line |= {"error": record.exc_info[0].__name__, "trace": self.formatException(record.exc_info)}
        return json.dumps(line, ensure_ascii=False, default=str)


def log_to_stderr() -> None:
    """Everything that is logged goes to standard error as JSON lines."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)


def run(settings: ServeSettings, ready: Callable[[str], None] = lambda at: None) -> None:
    """Serve until SIGTERM or Ctrl-C; requests that have begun get their answers, an indexing run keeps what it has.

    ``ready`` is called with the address of the page once connections are accepted.

    Raises InputError if the address cannot be used, or others can reach it and no secret is set; SolfaError if the
    collection cannot be opened.
    """
    access = Access.read(settings.secrets)
    if not access.hashes and not is_loopback(settings.host):
        raise InputError(
            f"{settings.host} can be reached from other machines, so a password is needed. Set one with: solfa serve "
            f"--set owner"
        )
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        listening = socket.create_server((settings.host, settings.port), family=family, backlog=512)
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        place = f"{settings.host} port {settings.port}"
        raise InputError(f"cannot listen on {place}: {why}. Choose another --port or --host.") from None
    app = create_app(settings, access)
    with listening:
        app.state.engine.start()
        host, port, *_ = listening.getsockname()
        ready(f"http://{f'[{host}]' if ':' in host else host}:{port}/")
        log_to_stderr()
        config = uvicorn.Config(app, http=_Timed, ws="none", log_config=None, access_log=False, server_header=False,
                                proxy_headers=False, limit_concurrency=_MOST_CONNECTIONS, timeout_keep_alive=15,
                                timeout_graceful_shutdown=_STOP_S)  # fmt: skip
        _Server(config, app).run(sockets=[listening])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._engine = app.state.engine

    def handle_exit(self, sig: int, frame: Any) -> None:
        self._engine.stopping.set()  # what streams events ends now
        super().handle_exit(sig, frame)
