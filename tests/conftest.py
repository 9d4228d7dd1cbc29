"""What all tests share."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

# Numeric libraries read this when they load: tests run in several processes, one thread each (see scripts/check).
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import typer.main
import typer.testing

# Making the commands out of their functions takes longer than running most of them; they are the same in every test.
typer.main.get_command = typer.testing._get_command = cache(typer.main.get_command)

Reply = Callable[[dict[str, Any], int], tuple[int, bytes]]


class FakeLLM:
    """A server of the chat protocol: what it was asked, and where it is."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.url = ""


@contextmanager
def _server(reply: Reply, **headers: str) -> Iterator[FakeLLM]:
    fake = FakeLLM()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            fake.asked.append(body)
            fake.keys.append(self.headers.get("Authorization"))
            code, data = reply(body, len(fake.asked))
            self.send_response(code)
            for name, value in {"Content-Length": str(len(data)), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            return None

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        fake.url = f"http://127.0.0.1:{http.server_port}/v1"
        try:
            yield fake
        finally:
            http.shutdown()
            thread.join()


@pytest.fixture
def llm_server() -> Callable[..., AbstractContextManager[FakeLLM]]:
    """Starts a server whose ``reply`` maps a request and its number to a status and the bytes of an answer."""
    return _server
