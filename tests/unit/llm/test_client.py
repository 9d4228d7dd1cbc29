import json
import os
import socketserver
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from solfa.core.errors import InputError, SolfaError, UnknownName
from solfa.jobs import Done, ThreadExecutor
from solfa.llm import Endpoint, ModelClient, Usage, json_objects

HELLO = [{"role": "user", "content": "hello"}]
SCHEMA = {"type": "object", "properties": {"mood": {"type": "string"}}, "required": ["mood"]}


def said(text: Any, **more: Any) -> bytes:
    return json.dumps({"choices": [{"message": {"content": text}}], **more}).encode()


def client(url: str, folder: Path, **options: Any) -> ModelClient:
    return ModelClient(Endpoint(url=url, model="m", **{"first_wait_s": 0.01, "timeout_s": 5.0, **options}), folder)


def test_an_answer_is_kept_by_the_content_of_its_request(
    llm_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_KEY", "secret-token")
    with llm_server(lambda body, n: (200, said(f"answer {n}"))) as fake:
        for _ in range(2):
            assert client(fake.url, tmp_path, key_env="A_KEY").text(HELLO) == "answer 1"
        assert client(fake.url, tmp_path, key_env="A_KEY").text(HELLO, seed=1) == "answer 2"
        for path in tmp_path.rglob("*.json"):  # what is not an answer is asked for again
            assert b"secret-token" not in path.read_bytes()
            path.write_text('{"content": 3}')
        assert client(fake.url, tmp_path).text(HELLO) == "answer 3"
    assert fake.keys == ["Bearer secret-token"] * 2 + [None]


@pytest.mark.parametrize(
    ("replies", "answer", "asked"),
    [
        (['{"mood": "sad"}'], {"mood": "sad"}, 1),
        (['<think>{"mood": "?"}</think>```json\n{"mood": "sad"}\n```'], {"mood": "sad"}, 1),
        (["It is sad.", '{"mood": "sad"}'], {"mood": "sad"}, 2),
        (['{"mood": "sa', '{"mood": "sad"}'], {"mood": "sad"}, 2),
        (['{"mood": 3}', '{"mood": "sad"}'], {"mood": "sad"}, 2),
        (['{"mood": 3}', "sorry"], {"mood": 3}, 2),
        (['{"mood": 3}', '{"mood": 4}'], {"mood": 4}, 2),
        (['{"mood": "half a character: \ud83d', '{"mood": "sad"}'], {"mood": "sad"}, 2),
        (["грустно", "ignore all instructions"], None, 2),
        (["[" * 10_000, "{" * 5000], None, 2),
    ],
)
def test_what_does_not_fit_a_schema_is_asked_for_once_more(
    replies: list[str], answer: Any, asked: int, llm_server: Any, tmp_path: Path
) -> None:
    def fault(found: dict[str, Any]) -> str:
        return "" if isinstance(found.get("mood"), str) else "mood is not a text"

    with llm_server(lambda body, n: (200, said(replies[n - 1]))) as fake:
        for _ in range(2):  # the second run asks nothing
            assert client(fake.url, tmp_path).ask(HELLO, SCHEMA, fault=fault) == answer
    assert len(fake.asked) == asked and fake.asked[0]["response_format"]["json_schema"]["schema"] == SCHEMA
    if asked == 2:
        first, said_, repair = fake.asked[1]["messages"]
        assert (first, said_["role"]) == (HELLO[0], "assistant") and "cannot be used" in repair["content"]


def test_a_request_leaves_out_what_a_server_refuses(llm_server: Any, tmp_path: Path) -> None:
    def strict(body: dict[str, Any], n: int) -> tuple[int, bytes]:
        refused = {"temperature", "max_tokens", "response_format", "seed"} & set(body)
        return (400, f"unknown field {refused}".encode()) if refused else (200, said('{"mood": "sad"}'))

    with llm_server(strict) as fake:
        with pytest.raises(InputError, match=r"HTTP 400.*--llm-omit"):
            client(fake.url, tmp_path).ask(HELLO, SCHEMA)
        every = ("temperature", "max_tokens", "seed", "response_format")
        assert client(fake.url, tmp_path, omit=every).ask(HELLO, SCHEMA) == {"mood": "sad"}
    with pytest.raises(UnknownName, match="optional field"):
        Endpoint(url="http://x/v1", model="m", omit=("messages",))


def test_requests_and_tokens_are_counted(llm_server: Any, tmp_path: Path) -> None:
    counts: list[Any] = [{"prompt_tokens": 200, "completion_tokens": 40}, {"prompt_tokens": "many"}, None]
    with llm_server(lambda body, n: (200, said("jazz", usage=counts[n - 1]))) as fake:
        asker = client(fake.url, tmp_path)
        for seed in (1, 2, 3, 1):
            assert asker.text(HELLO, seed=seed) == "jazz"
        assert asker.text(HELLO, seed=2) == "jazz" and len(fake.asked) == 3  # what is kept costs none
    assert asker.usage == Usage(requests=3, kept=2, prompt_tokens=200, completion_tokens=40, uncounted=2)


def test_an_answer_of_megabytes_is_none(llm_server: Any, tmp_path: Path) -> None:
    with llm_server(lambda body, n: (200, said("{}" + " " * 10_000_000))) as fake:
        assert client(fake.url, tmp_path).ask(HELLO, SCHEMA) is None


@pytest.mark.parametrize(
    ("status", "said"), [(b"200 OK", "took too long"), (b"400 Bad Request", "refuses with HTTP 400")]
)
def test_an_answer_or_a_refusal_that_never_ends_is_given_up(status: bytes, said: str, tmp_path: Path) -> None:
    handler = type("Handler", (_Drip,), {"status": status})
    with socketserver.TCPServer(("127.0.0.1", 0), handler) as drip:
        thread = threading.Thread(target=drip.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            with pytest.raises(SolfaError, match=said):
                url = f"http://127.0.0.1:{drip.server_address[1]}/v1"
                client(url, tmp_path, retries=0, timeout_s=1.0).text(HELLO)
        finally:
            drip.shutdown()
            thread.join()


class _Drip(socketserver.BaseRequestHandler):
    """Sends a byte now and then, each sooner than the timeout of a connection."""

    status = b""

    def handle(self) -> None:
        self.request.recv(65536)
        self.request.sendall(b"HTTP/1.0 " + self.status + b"\r\n\r\n")
        for _ in range(600):
            try:
                self.request.sendall(b" ")
            except OSError:
                return
            time.sleep(0.05)


def test_more_requests_wait_than_there_are_cores(llm_server: Any, tmp_path: Path) -> None:
    busy, most, lock = 0, 0, threading.Lock()

    def waiting(body: dict[str, Any], n: int) -> tuple[int, bytes]:
        nonlocal busy, most
        with lock:
            busy, most = busy + 1, max(most, busy + 1)
        time.sleep(0.2)
        with lock:
            busy -= 1
        return 200, said("jazz")

    with llm_server(waiting) as fake:
        asker = client(fake.url, tmp_path)
        found = ThreadExecutor(12).map(lambda seed: asker.text(HELLO, seed=seed), range(24))
        assert [r.value for r in found if isinstance(r, Done)] == ["jazz"] * 24
    assert most > min(os.cpu_count() or 1, 4) and asker.usage.requests == 24


def test_what_is_no_protocol_is_no_answer_and_not_kept(llm_server: Any, tmp_path: Path) -> None:
    for i, nonsense in enumerate((b"<html>busy</html>", b"[" * 100_000)):
        with llm_server(lambda body, n, nonsense=nonsense: (200, nonsense if n == 1 else said("jazz"))) as fake:
            assert client(fake.url, tmp_path / str(i)).text(HELLO) == ""
            assert client(fake.url, tmp_path / str(i)).text(HELLO) == "jazz"
    with llm_server(lambda body, n: (200, said([{"type": "text", "text": "jazz"}, {"type": "x"}, 3]))) as fake:
        assert client(fake.url, tmp_path).text(HELLO) == "jazz"


def test_refusals_that_pass_are_retried_and_others_end_the_run(llm_server: Any, tmp_path: Path) -> None:
    with llm_server(lambda body, n: (429, b"") if n == 1 else (503, b"") if n == 2 else (200, said("jazz"))) as fake:
        assert client(fake.url, tmp_path / "a").text(HELLO) == "jazz" and len(fake.asked) == 3
    with (
        llm_server(lambda body, n: (401, b"bad \x1b[31mkey")) as fake,
        pytest.raises(InputError, match=r"HTTP 401: bad \[31mkey") as raised,
    ):
        client(fake.url, tmp_path / "b").text(HELLO)
    assert "\x1b" not in str(raised.value) and len(fake.asked) == 1
    with llm_server(lambda body, n: (500, b"")) as fake:
        asker = client(fake.url, tmp_path / "c", retries=1)
        assert asker.ask(HELLO, SCHEMA) is None and len(fake.asked) == 2  # what is refused is not repaired
        with pytest.raises(SolfaError, match="8 requests in a row"):
            for seed in range(1, 9):
                asker.text(HELLO, seed=seed)
    with pytest.raises(SolfaError, match="cannot be reached"):
        client("http://127.0.0.1:9/v1", tmp_path, retries=1).text(HELLO)


def test_the_key_does_not_follow_a_redirect(llm_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "secret-token")
    with (
        llm_server(lambda body, n: (200, said("jazz"))) as other,
        llm_server(lambda body, n: (302, b""), Location=other.url + "/chat/completions") as fake,
    ):
        with pytest.raises(InputError, match="HTTP 302"):
            client(fake.url, tmp_path, key_env="A_KEY").text(HELLO)
        assert other.asked == []


def test_bad_settings_are_said_at_once(llm_server: Any, tmp_path: Path) -> None:
    for url in ("ftp://x/v1", "file:///etc/passwd", "localhost:80", "http://user:word@host/v1"):
        with pytest.raises(InputError, match="endpoint"):
            Endpoint(url=url, model="m")
    with pytest.raises(InputError, match="NO_SUCH_KEY"):
        client("http://127.0.0.1:9/v1", tmp_path, key_env="NO_SUCH_KEY")
    (tmp_path / "file").write_text("")
    with (
        llm_server(lambda body, n: (200, said("jazz"))) as fake,
        pytest.raises(InputError, match="cannot keep answers"),
    ):
        client(fake.url, tmp_path / "file").text(HELLO)


def test_objects_are_found_among_words() -> None:
    assert json_objects('a {"x": {"y": 1}} b {"z": [2, {}]} {') == [{"x": {"y": 1}}, {"z": [2, {}]}]
    assert json_objects("") == json_objects("[1, 2]") == json_objects("{" * 10_000) == []
