"""Running the application: the socket, time limits of connections, logs as JSON lines, a stop in order."""

import asyncio
import json
import logging
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from solfa.core.errors import InputError
from solfa.serve.app import create_app
from solfa.serve.engine import ServeSettings
from solfa.serve.security import Access, is_loopback

_SENDING_S = 60.0  # for a request to arrive
_MOST_CONNECTIONS, _STOP_S = 1000, 10


class _Timed(H11Protocol):
    """Closes connections whose requests do not arrive in time: many slow ones would use up all there are."""

    _limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._limit = self.loop.call_later(_SENDING_S, transport.close)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._forget()
        elif self._limit is None:
            self._limit = self.loop.call_later(_SENDING_S, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def _forget(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {"time": round(record.created, 3), "level": record.levelname.lower(),
                                "event": record.getMessage(), **getattr(record, "fields", {})}  # fmt: skip
        if record.exc_info and record.exc_info[0] is not None:
            line |= {"error": record.exc_info[0].__name__, "trace": self.formatException(record.exc_info)}
        return json.dumps(line, default=str)


def run(settings: ServeSettings, ready: Callable[[str], None] = lambda at: None) -> None:
    """Serve until SIGTERM or Ctrl-C; requests that have begun get their answers, an indexing run keeps what it has.

    ``ready`` is called with the address of the page once connections are accepted. Logs go to standard error.

    Raises InputError if the address cannot be used, or others can reach it and no secret is set; SolfaError if the
    collection cannot be opened.
    """
    access = Access.of_environment()
    if not access.hashes and not is_loopback(settings.host):
        raise InputError(f"{settings.host} can be reached from other machines, so a secret is needed: set the variable "
                         f"SOLFA_OWNER_SECRET (8 characters or more), and SOLFA_READER_SECRET for others.")  # fmt: skip
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        listening = socket.create_server((settings.host, settings.port), family=family, backlog=512)
    except OSError as error:
        place = f"{settings.host} port {settings.port}"
        raise InputError(f"cannot listen on {place}: {error.strerror}. Choose another --port or --host.") from None
    with listening:
        app = create_app(settings, access)
        app.state.engine.start()
        host, port, *_ = listening.getsockname()
        ready(f"http://{f'[{host}]' if ':' in host else host}:{port}/")
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_JsonLines())
        logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
        config = uvicorn.Config(app, http=_Timed, ws="none", log_config=None, access_log=False, server_header=False,
                                proxy_headers=False, limit_concurrency=_MOST_CONNECTIONS, timeout_keep_alive=15,
                                timeout_graceful_shutdown=_STOP_S)  # fmt: skip
        server = _Server(config)
        server.stopping = app.state.engine.stopping
        for one in (signal.SIGINT, signal.SIGTERM):  # uvicorn stops, then raises them again
            signal.signal(one, lambda *_: None)
        server.run(sockets=[listening])


class _Server(uvicorn.Server):
    stopping: Any

    def handle_exit(self, sig: int, frame: Any) -> None:
        self.stopping.set()  # streams of events end now
        super().handle_exit(sig, frame)
