"""The server on a real socket."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
import uvicorn
from given_server import API, HereSandbox

import solfa
from solfa.core.errors import SolfaError
from solfa.serve.app import create_app
from solfa.serve.engine import ServeSettings
from solfa.serve.security import Access
from solfa.serve.server import _Timed


@pytest.fixture
def live(settings: ServeSettings) -> Iterator[str]:
    """The address of a server in a thread."""
    app = create_app(settings, Access({}))
    app.state.engine._sandbox = HereSandbox()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, http=_Timed, log_config=None))
        thread = Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join()


def test_the_client_asks_and_says_what_is_wrong(live: str, kept: Path) -> None:
    with solfa.Client(live, "not needed") as client:
        [low] = client.search("low", k=1)["hits"]
        assert low["path"].endswith("low.wav")
        like = client.ask(f"tracks/{low['track_id']}/similar", from_=1, to=3)["hits"]
        assert like and low["track_id"] not in [hit["track_id"] for hit in like]
        uploaded = client.search(like=[client.upload(kept / "music" / "low.wav")])["hits"]
        assert uploaded[0]["track_id"] == like[0]["track_id"] and low["track_id"] not in [
            h["track_id"] for h in uploaded
        ]
        assert "#EXTM3U" in client.post("playlists", json={"ids": [str(low["track_id"])]}).text
        with pytest.raises(SolfaError, match="no track 999"):
            client.ask("tracks/999")
    with solfa.Client("http://127.0.0.1:1") as nobody, pytest.raises(SolfaError, match="Is 'solfa serve' running"):
        nobody.ask("status")


def sent(url: str, data: bytes, wait_s: float = 5.0) -> bytes:
    """What a server answers to these bytes until it closes the connection."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=wait_s) as connection:
        connection.sendall(data)
        found = b""
        while part := connection.recv(65536):
            found += part
    return found


@pytest.mark.parametrize(
    "start",
    [b"", b"GET /api", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: ",
     b"POST /api/v1/playlists HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n{"],
)  # fmt: skip
def test_what_is_not_sent_in_time_is_not_waited_for(live: str, start: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("solfa.serve.server._SENDING_S", 0.4)
    began_s = time.monotonic()
    assert sent(live, start) == b""
    assert 0.3 < time.monotonic() - began_s < 3
    with solfa.Client(live) as client:
        assert client.ask("status")["tracks"] == 5
        time.sleep(0.6)  # a connection between two requests is not a slow one
        assert client.ask("status")["tracks"] == 5


@pytest.mark.parametrize(
    "data",
    [b"\x00\xff\xfe\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\r\n" * 100,
     b"GET / HTTP/1.1\r\nHost: a\r\nHost: 127.0.0.1\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 70_000,
     b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -5\r\n\r\n",
     b"GET http://evil.example/ HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n",
     b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"],
)  # fmt: skip
def test_what_is_no_request_is_refused_and_harms_nobody(
    live: str, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("solfa.serve.server._SENDING_S", 0.4)
    answer = sent(live, data, 10)
    assert answer[:10] in (b"HTTP/1.1 4", b"")
    with solfa.Client(live) as client:
        assert client.get(f"{live}{API}/status").status_code == 200
