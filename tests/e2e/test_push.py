"""Playlists pushed to real servers: supysonic and MPD, where they are installed; and servers that misbehave."""

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import mutagen
import numpy as np
import pytest

from fakes.files import write_audio
from solfa.core.errors import InputError, SolfaError

pytest.importorskip("httpx")
pytest.importorskip("mpd")
from solfa.serve.push import read_m3u, to_mpd, to_subsonic

RATE = 16_000


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tagged songs, and two of one file name without tags."""
    folder = tmp_path_factory.mktemp("music")
    for name, tags in (("one.flac", ("Blue", "Ada")), ("two.ogg", ("Grün \"x\" 'y'", "Zoë")), ("a/same.wav", None),
                       ("b/same.wav", None)):  # fmt: skip
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        write_audio(path, (0.3 * np.sin(np.arange(2 * RATE) / 20)).astype(np.float32), RATE)
        if tags:
            file = mutagen.File(path, easy=True)
            file.update(zip(("title", "artist"), tags, strict=True))
            file.save()
    return folder


def free_port() -> int:
    with closing(socket.socket()) as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def started(port: int, *command: str, **options: Any) -> Iterator[int]:
    """A server, once it accepts connections."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options) as process:
        for _ in range(600):
            with closing(socket.socket()) as one:
                if one.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield port
        process.terminate()


@pytest.fixture
def supysonic(music: Path, tmp_path: Path) -> Iterator[int]:
    if importlib.util.find_spec("supysonic") is None or importlib.util.find_spec("waitress") is None:
        pytest.skip("supysonic and waitress are not installed")
    (tmp_path / ".supysonic").write_text(
        f"[base]\ndatabase_uri = sqlite:///{tmp_path}/s.db\n[daemon]\nrun_watcher = no\n"
        f"[webapp]\ncache_dir = {tmp_path}/cache\n"
    )
    options = {"env": {**os.environ, "HOME": str(tmp_path)}, "cwd": tmp_path}
    bin_folder = Path(sys.executable).parent
    for words in ("user add alice -p secret", f"folder add Music {music}", "folder scan -f --foreground Music"):
        subprocess.run([bin_folder / "supysonic-cli", *words.split()], check=True, capture_output=True, **options)
    port = free_port()
    server = (str(bin_folder / "supysonic-server"), "-S", "waitress", "--host", "127.0.0.1", "--port", str(port))
    with started(port, *server, **options):
        yield port


@pytest.fixture
def mpd_port(music: Path, tmp_path: Path) -> Iterator[int]:
    if shutil.which("mpd") is None:
        pytest.skip("mpd is not installed")
    (tmp_path / "lists").mkdir()
    port = free_port()
    (tmp_path / "mpd.conf").write_text(
        f'music_directory "{music}"\nplaylist_directory "{tmp_path}/lists"\ndb_file "{tmp_path}/db"\n'
        f'bind_to_address "127.0.0.1"\nport "{port}"\nzeroconf_enabled "no"\npassword "pass@read,add,control,admin"\n'
        'default_permissions "read"\naudio_output {\n type "null"\n name "null"\n}\n'
    )
    import mpd

    with started(port, "mpd", "--no-daemon", "--stderr", str(tmp_path / "mpd.conf")):
        client = mpd.MPDClient()
        client.connect("127.0.0.1", port)
        client.password("pass")
        client.update()
        while len(client.listall()) < 4 or "updating_db" in client.status():
            time.sleep(0.05)
        client.disconnect()
        yield port


def test_a_playlist_on_a_subsonic_server(music: Path, supysonic: int) -> None:
    import libsonic

    paths = [music / "two.ogg", music / "one.flac", music / "gone.mp3"]
    url = f"http://127.0.0.1:{supysonic}"
    for order in (paths, paths[::-1]):  # the second time the same playlist is replaced
        pushed = to_subsonic(order, "evening", url, "alice", "secret")
        assert (pushed.found, pushed.missing) == (2, (music / "gone.mp3",))
    client = libsonic.Connection("http://127.0.0.1", "alice", "secret", port=supysonic, legacyAuth=True)
    [kept] = client.getPlaylists()["playlists"]["playlist"]
    entries = client.getPlaylist(kept["id"])["playlist"]["entry"]
    assert [entry["title"] for entry in entries] == ["Blue", "Grün \"x\" 'y'"]
    with pytest.raises(InputError, match="refuses ping"):
        to_subsonic(paths, "evening", url, "alice", "wrong")


def test_a_playlist_on_an_mpd(music: Path, mpd_port: int) -> None:
    import mpd

    paths = [music / "two.ogg", music / "b" / "same.wav", music / "one.flac", music / "gone.mp3"]
    pushed = to_mpd(paths, "evening", "127.0.0.1", mpd_port, "pass")
    assert (pushed.found, pushed.missing) == (3, (music / "gone.mp3",))
    client = mpd.MPDClient()
    client.connect("127.0.0.1", mpd_port)
    assert client.listplaylist("evening") == ["two.ogg", "b/same.wav", "one.flac"]
    with pytest.raises(InputError, match="--force"):
        to_mpd(paths[:1], "evening", "127.0.0.1", mpd_port, "pass")
    to_mpd(paths[:1], "evening", "127.0.0.1", mpd_port, "pass", force=True)
    assert client.listplaylist("evening") == ["two.ogg"]
    client.disconnect()
    with pytest.raises(InputError, match="refuses"):
        to_mpd(paths[:1], "other", "127.0.0.1", mpd_port, "wrong")


@pytest.mark.parametrize(
    "answer", [b"", b"[]", b'{"subsonic-response": 3}', b'{"subsonic-response": {"error": 1}}', b"<html>"]
)
def test_a_server_that_answers_nonsense_is_said(music: Path, answer: bytes) -> None:
    class Odd(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Odd)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(SolfaError, match="does not answer as a Subsonic server"):
            to_subsonic([music / "one.flac"], "x", f"http://127.0.0.1:{server.server_port}", "a", "b")
    finally:
        server.shutdown()
        server.server_close()


def test_servers_that_are_not_there_and_empty_playlists(music: Path) -> None:
    port = free_port()
    with pytest.raises(SolfaError, match="cannot be"):
        to_subsonic([music / "one.flac"], "x", f"http://127.0.0.1:{port}", "a", "b")
    with pytest.raises(SolfaError, match="cannot be reached"):
        to_mpd([music / "one.flac"], "x", "127.0.0.1", port, "")
    with pytest.raises(InputError, match="no files"):
        read_m3u("#EXTM3U\n", music)
