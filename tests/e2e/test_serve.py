"""``solfa serve`` as a process: it indexes, answers, stops in order, and loses nothing when it is killed."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

import solfa
from fakes.files import write_audio
from fakes.synth import song

Start = Callable[..., tuple[subprocess.Popen[str], str]]


@pytest.fixture
def start(tmp_path: Path, environment: dict[str, str]) -> Iterator[Start]:
    """Starts a server; gives the process and its address."""
    begun: list[subprocess.Popen[str]] = []

    def begin(*arguments: str | Path, **variables: str) -> tuple[subprocess.Popen[str], str]:
        own = {**environment, "SOLFA_COLLECTION": str(tmp_path / "collection"), **variables}
        command = [sys.executable, "-m", "solfa", "serve", "--port", "0", *map(str, arguments)]
        process = subprocess.Popen(command, env=own, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        begun.append(process)
        assert process.stdout is not None
        said = process.stdout.readline().split()
        return process, said[2].rstrip("/;") if len(said) > 2 else ""

    yield begin
    for process in begun:
        process.kill()
        process.communicate()


def until(ready: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.slow
def test_kill_in_the_middle_of_indexing_loses_nothing(tmp_path: Path, start: Start, needs_models: None) -> None:
    (tmp_path / "songs").mkdir()
    for number in range(8):
        made = song("A:min F:maj C:maj G:maj", tempo_bpm=90.0 + 10 * number, bars=6, seed=number)
        write_audio(tmp_path / "songs" / f"{number}.wav", made.audio.samples, made.audio.sample_rate_hz)
    process, url = start(tmp_path / "songs")
    with solfa.Client(url) as client:
        until(lambda: client.ask("status")["tracks"] >= 2)
        process.send_signal(signal.SIGKILL)
        process.wait()
    process, url = start(tmp_path / "songs")
    with solfa.Client(url) as client:
        assert client.ask("status")["tracks"] >= 2  # what was finished is there
        until(lambda: client.ask("status")["job"]["state"] != "running")
        status = client.ask("status")
        assert (status["tracks"], status["job"]["state"], status["failures"]) == (8, "done", 0)
        until(lambda: client.search(where=["duration_s>0"], k=20)["candidates"] == 8)
        assert client.search("fast song in A minor", k=8)["hits"]
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 0 and "Traceback" not in err
    lines = [json.loads(line) for line in err.splitlines()]
    assert ("/api/v1/search", 200) in [(line.get("route"), line.get("status")) for line in lines]


def test_a_server_stops_while_it_indexes_and_streams(music: Path, start: Start, needs_models: None) -> None:
    process, url = start(music)
    with solfa.Client(url) as client:
        job = client.ask("status")["job"]["id"]
        with client.stream("GET", f"jobs/{job}/events") as events:
            next(events.iter_lines())
            process.send_signal(signal.SIGTERM)
            began_s = time.monotonic()
            process.communicate(timeout=60)
    assert process.returncode == 0 and time.monotonic() - began_s < 40


def test_what_cannot_be_served_is_a_line(start: Start, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        wrong: dict[tuple[str, ...], str] = {
            ("--host", "0.0.0.0"): "SOLFA_OWNER_SECRET", ("--port", port): "cannot listen",
            (str(tmp_path / "none"),): "not found",
        }  # fmt: skip
        for arguments, words in wrong.items():
            process, _ = start(*arguments)
            _, err = process.communicate(timeout=60)
            assert process.returncode == 2 and words in err and len(err.splitlines()) == 1, err


def test_a_secret_lets_others_in(start: Start, music: Path) -> None:
    process, url = start("--host", "0.0.0.0", SOLFA_OWNER_SECRET="a long secret", SOLFA_READER_SECRET="another secret")
    url = url.replace("0.0.0.0", "127.0.0.1")
    assert httpx.get(f"{url}/api/v1/status").status_code == 401
    assert httpx.get(f"{url}/api/v1/status", auth=("me", "another secret")).json()["role"] == "reader"
    assert httpx.get(f"{url}/api/v1/status", auth=("me", "a long secret")).json()["role"] == "owner"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert "secret" not in err
