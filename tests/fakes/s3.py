"""An S3 server on this machine (moto), and a proxy before it that fails in the ways that object stores fail."""

from __future__ import annotations

import http.client
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

Fault = str | None
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "a",
    "AWS_SECRET_ACCESS_KEY": "b",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@contextmanager
def s3_server() -> Iterator[str]:
    """The address of a moto server."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


class Faults:
    """What the proxy does to a request: a function of its method and path to None, ``500``, ``503``, ``403``, ``drop``
    (the connection is closed), ``lost`` (the same, after the request was carried out), ``partial`` (half of what was
    promised comes), or ``slow`` (a tenth of a second a kB).
    """

    def __init__(self) -> None:
        self.choose: Callable[[str, str], Fault] = lambda method, path: None
        self.seen: list[tuple[str, str, Fault]] = []
        self.url = ""
        self.slept_s = 0.0  # time that slow answers took, the same on every machine

    def often(self, seed: int, **shares: float) -> None:
        """Each fault with its share of the requests from now on."""
        rng, lock = random.Random(seed), threading.Lock()

        def choose(method: str, path: str) -> Fault:
            with lock:
                return rng.choices([*shares, None], [*shares.values(), 1 - sum(shares.values())])[0]

        self.choose = choose


@contextmanager
def faulty(upstream: str) -> Iterator[Faults]:
    """A proxy to ``upstream`` whose faults can be set while it runs."""
    faults, place = Faults(), upstream.removeprefix("http://")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            fault = faults.choose(self.command, self.path)
            faults.seen.append((self.command, self.path, fault))
            if fault == "drop":
                self.close_connection = True
                return
            if fault in ("403", "500", "503"):
                code = {"403": "AccessDenied", "500": "InternalError", "503": "SlowDown"}[fault]
                self._answer(int(fault), {}, f"<Error><Code>{code}</Code><Message>fault</Message></Error>".encode())
                return
            server = http.client.HTTPConnection(place)
            server.request(self.command, self.path, body, dict(self.headers.items()))
            answer = server.getresponse()
            data = answer.read()
            server.close()
            if fault == "lost":
                self.close_connection = True
                return
            self._answer(answer.status, dict(answer.getheaders()), data, fault)

        def _answer(self, status: int, headers: dict[str, str], data: bytes, fault: Fault = None) -> None:
            self.send_response_only(status)
            length = str(len(data)) if self.command != "HEAD" else headers.get("Content-Length", "0")
            headers = {k: v for k, v in headers.items() if k.lower() not in ("transfer-encoding", "content-length")}
            for name, value in {**headers, "Content-Length": length}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            if fault == "partial" and len(data) > 1:
                self.wfile.write(data[: len(data) // 2])
                self.close_connection = True
            elif fault == "slow":
                for at in range(0, len(data), 1000):
                    self.wfile.write(data[at : at + 1000])
                    time.sleep(0.1)
                    faults.slept_s += 0.1
            else:
                self.wfile.write(data)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any

        def log_message(self, *_: object) -> None:
            return None

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            return None  # a client that was killed

    with Server(("127.0.0.1", 0), Handler) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        faults.url = f"http://127.0.0.1:{proxy.server_port}"
        try:
            yield faults
        finally:
            proxy.shutdown()
            thread.join()


def upload(moto: str, folder: Path) -> None:
    """All files of a folder, into the bucket ``music``."""
    import boto3

    client = boto3.client("s3", endpoint_url=moto)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            client.upload_file(str(path), "music", path.relative_to(folder).as_posix())
