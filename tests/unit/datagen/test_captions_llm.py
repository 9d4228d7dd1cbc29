import json
import os
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from solfa.core.errors import InputError, SolfaError, UnknownName
from solfa.datagen.captions.checks import Reading, read
from solfa.datagen.captions.llm import Captioner, Endpoint, Usage, estimate, facts
from solfa.jobs import Done, ThreadExecutor

SONG = {"key": "F major", "tempo_bpm": 110.2, "tempo_marking": "moderato", "beats_per_bar": 4,
        "chords": ["A:min", "F:maj", "C:maj", "G:maj"], "genre": ["jazz"], "mood": ["sad"]}  # fmt: skip
GOOD = "A sad jazz piece in F major at 110 BPM, marked moderato, with 4 beats per bar, over the chords Am - F - C - G."

Reply = Callable[[dict[str, Any], int], tuple[int, bytes]]


def said(text: str) -> bytes:
    return json.dumps({"choices": [{"message": {"content": text}}]}).encode()


def captioned(text: str) -> bytes:
    return said(json.dumps({"caption": text}))


class Fake:
    """What a server was asked, and where it is."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.url = ""


@contextmanager
def server(reply: Reply, **headers: str) -> Iterator[Fake]:
    fake = Fake()

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


def asker(fake: Fake, folder: Path, **options: Any) -> Captioner:
    return Captioner(Endpoint(url=fake.url, model="m", first_wait_s=0.01, timeout_s=5.0, **options), folder)


def test_a_good_answer_is_taken_cached_and_asked_for_in_an_order_of_the_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_KEY", "secret-token")
    with server(lambda body, n: (200, captioned(GOOD + "\x1b\n"))) as fake:
        first = asker(fake, tmp_path, key_env="A_KEY").caption(SONG, seed=1)
        again = asker(fake, tmp_path, key_env="A_KEY").caption(SONG, seed=1)
        orders = [asker(fake, tmp_path, key_env="A_KEY").caption(SONG, seed=s) for s in range(2, 5)]
    assert first.text == again.text == GOOD and all(o.text == GOOD for o in orders)
    assert len(fake.asked) == 4 and set(fake.keys) == {"Bearer secret-token"}
    rows = [json.loads(body["messages"][1]["content"]) for body in fake.asked]
    assert len({json.dumps(r) for r in rows}) > 1 and all(
        sorted(map(str, r)) == sorted(map(str, facts(SONG))) for r in rows
    )
    assert not any(b"secret-token" in p.read_bytes() for p in tmp_path.rglob("*.json"))


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        ("Sure! Here is a caption: jazz.", "malformed"),
        ('{"caption": 3}', "malformed"),
        ('{"caption": "x"', "malformed"),
        ('{"text": "x", "more": {"caption": 3}}', "malformed"),
        ("<think>" + "{" * 5000, "malformed"),
        (json.dumps({"caption": GOOD.replace(" at 110", " in a very fast tempo of 110")}), "invented"),
        (json.dumps({"caption": GOOD.replace("piece", "piece recorded live in 1969 by the Beatles")}), "invented"),
        (json.dumps({"caption": GOOD.replace("piece", "piece without drums")}), "invented"),
        (json.dumps({"caption": GOOD.replace("piece", "piece from London")}), "invented"),
        (json.dumps({"caption": GOOD.replace("piece", "slow piece")}), "invented"),
        ("[" * 10_000, "malformed"),
        (json.dumps({"caption": ""}), "empty"),
        (json.dumps({"caption": GOOD.replace("F major", "G major")}), "false"),
        (json.dumps({"caption": GOOD.replace("sad ", "")}), "missing"),
        (json.dumps({"caption": GOOD.replace("piece", "piece with violin")}), "false"),
        (json.dumps({"caption": GOOD + " It is nice."}), "sentences"),
        (json.dumps({"caption": GOOD.replace("sad", "beautiful sad")}), "subjective"),
        (json.dumps({"caption": GOOD.replace("piece", "<b>piece</b>")}), "markup"),
        (json.dumps({"caption": GOOD.replace("piece", "пьеса")}), "wrong_script"),
        (json.dumps({"caption": GOOD + " and" * 200}), "too_long"),
    ],
)
def test_nonsense_is_rejected_by_name_after_two_attempts_and_never_replaced(
    content: str, rule: str, tmp_path: Path
) -> None:
    with server(lambda body, n: (200, said(content))) as fake:
        answer = asker(fake, tmp_path).caption(SONG, seed=0)
        assert answer.text == "" and rule in answer.rejected
        assert len(fake.asked) == 2


@pytest.mark.parametrize(
    "content",
    [
        "```json\n" + json.dumps({"caption": GOOD}) + "\n```",
        '<think>Perhaps {"caption": "no"}? {{{</think>\n' + json.dumps({"caption": GOOD, "confidence": 0.9}),
        "Here it is: " + json.dumps({"notes": [1, {}], "caption": GOOD}) + " Tell me if you need more.",
    ],
)
def test_fences_thinking_and_further_keys_are_passed_over(content: str, tmp_path: Path) -> None:
    with server(lambda body, n: (200, said(content))) as fake:
        assert asker(fake, tmp_path).caption(SONG, seed=0).text == GOOD and len(fake.asked) == 1


def test_a_request_leaves_out_what_a_server_refuses(tmp_path: Path) -> None:
    def strict(body: dict[str, Any], n: int) -> tuple[int, bytes]:
        refused = {"temperature", "max_tokens", "response_format", "seed"} & set(body)
        return (400, f"unknown field {refused}".encode()) if refused else (200, captioned(GOOD))

    with server(strict) as fake:
        with pytest.raises(InputError, match=r"HTTP 400.*--llm-omit"):
            asker(fake, tmp_path).caption(SONG, seed=0)
        every = ("temperature", "max_tokens", "seed", "response_format")
        assert asker(fake, tmp_path, omit=every).caption(SONG, seed=0).text == GOOD
    with pytest.raises(UnknownName, match="optional field"):
        Endpoint(url="http://x/v1", model="m", omit=("messages",))


def test_tokens_are_estimated_before_and_counted_after(tmp_path: Path) -> None:
    expected = estimate([SONG, SONG], 3)
    assert expected.requests == 6 and 150 < expected.prompt_tokens / 6 < 600
    assert expected.cost(1.0, 2.0) == pytest.approx((expected.prompt_tokens + 2 * expected.completion_tokens) / 1e6)
    counts: list[Any] = [{"prompt_tokens": 200, "completion_tokens": 40}, {"prompt_tokens": "many"}, None]

    def counting(body: dict[str, Any], n: int) -> tuple[int, bytes]:
        return 200, json.dumps({**json.loads(captioned(GOOD)), "usage": counts[n - 1]}).encode()

    with server(counting) as fake:
        captioner = asker(fake, tmp_path)
        for seed in (1, 2, 3, 1):
            assert captioner.caption(SONG, seed=seed).text == GOOD
    assert captioner.usage == Usage(requests=3, kept=1, prompt_tokens=200, completion_tokens=40, uncounted=2)


def test_an_answer_of_megabytes_or_that_never_ends_is_given_up(tmp_path: Path) -> None:
    with server(lambda body, n: (200, captioned(GOOD + " " * 10_000_000))) as fake:
        assert asker(fake, tmp_path).caption(SONG, seed=0).rejected == ("malformed",)

    with socketserver.TCPServer(("127.0.0.1", 0), _Drip) as drip:
        thread = threading.Thread(target=drip.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            url = f"http://127.0.0.1:{drip.server_address[1]}/v1"
            slow = Endpoint(url=url, model="m", retries=0, timeout_s=1.0)
            with pytest.raises(SolfaError, match="took too long"):
                Captioner(slow, tmp_path / "slow").caption(SONG, seed=0)
        finally:
            drip.shutdown()
            thread.join()


class _Drip(socketserver.BaseRequestHandler):
    """Sends a byte now and then, each sooner than the timeout of a connection."""

    def handle(self) -> None:
        self.request.recv(65536)
        self.request.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
        for _ in range(600):
            try:
                self.request.sendall(b" ")
            except OSError:
                return
            time.sleep(0.05)


def test_more_requests_wait_than_there_are_cores(tmp_path: Path) -> None:
    busy, most, lock = 0, 0, threading.Lock()

    def waiting(body: dict[str, Any], n: int) -> tuple[int, bytes]:
        nonlocal busy, most
        with lock:
            busy, most = busy + 1, max(most, busy + 1)
        time.sleep(0.2)
        with lock:
            busy -= 1
        return 200, captioned(GOOD)

    with server(waiting) as fake:
        captioner = asker(fake, tmp_path)
        found = ThreadExecutor(12).map(lambda seed: captioner.caption(SONG, seed=seed).text, range(24))
        assert [r.value for r in found if isinstance(r, Done)] == [GOOD] * 24
    assert most > min(os.cpu_count() or 1, 4) and captioner.usage.requests == 24


def test_a_model_is_told_what_is_not_sure_and_must_hedge_it(tmp_path: Path) -> None:
    known = {"genre": ["jazz"], "some_chords": ["A:min", "F:maj"],
             "unsure": {"key": "A minor", "tempo_bpm": 93.0, "tempo_marking": "andante", "metre": "3/4"}}  # fmt: skip
    assert {"name": "some of the chords, in no order", "value": "Am, F"} in facts(known)
    unsure = [(f["name"], f["value"]) for f in facts(known) if f.get("sure") is False]
    assert unsure == [("tempo", "93 BPM"), ("metre", "3/4"), ("key", "A minor")]
    text = "A jazz piece with chords such as Am and F, probably in A minor, perhaps in 3/4 and probably at 93 BPM."
    for said_, rejected in {
        text: (), text.replace("probably in A", "in A"): ("false",), text.replace("perhaps ", ""): ("false",),
        text.replace("probably at ", "at "): ("false",), text.replace("and F", "and G"): ("false",),
        text.replace("93", "120"): ("false", "invented"),
    }.items():  # fmt: skip
        with server(lambda body, n, said_=said_: (200, captioned(said_))) as fake:
            assert asker(fake, tmp_path / said_).caption(known, seed=0).rejected == rejected, said_


def test_the_gate_says_what_it_cannot_check() -> None:
    text = GOOD.replace("piece", "piece of shimmering nostalgia")
    assert read(text, SONG).unchecked == ("shimmering", "nostalgia") and not read(text, SONG).invented
    assert read(GOOD, SONG) == Reading()


def test_what_is_no_protocol_is_malformed_and_not_kept(tmp_path: Path) -> None:
    for i, nonsense in enumerate((b"<html>busy</html>", b"[" * 100_000)):
        with server(lambda body, n, said=nonsense: (200, said if n <= 2 else captioned(GOOD))) as fake:
            assert asker(fake, tmp_path / str(i)).caption(SONG, seed=0).rejected == ("malformed",)
            assert asker(fake, tmp_path / str(i)).caption(SONG, seed=0).text == GOOD


def test_refusals_that_pass_are_retried_and_others_end_the_run(tmp_path: Path) -> None:
    with server(lambda body, n: (429, b"") if n == 1 else (503, b"") if n == 2 else (200, captioned(GOOD))) as fake:
        assert asker(fake, tmp_path / "a").caption(SONG, seed=0).text == GOOD and len(fake.asked) == 3
    with (
        server(lambda body, n: (401, b"bad \x1b[31mkey")) as fake,
        pytest.raises(InputError, match=r"HTTP 401: bad \[31mkey") as raised,
    ):
        asker(fake, tmp_path / "b").caption(SONG, seed=0)
    assert "\x1b" not in str(raised.value) and len(fake.asked) == 1
    with server(lambda body, n: (500, b"")) as fake:
        captioner = asker(fake, tmp_path / "c", retries=1)
        assert captioner.caption(SONG, seed=0).rejected == ("refused",) and len(fake.asked) == 2
        with pytest.raises(SolfaError, match="8 clips in a row"):
            for seed in range(1, 9):
                captioner.caption(SONG, seed=seed)
    nobody = Endpoint(url="http://127.0.0.1:9/v1", model="m", retries=1, first_wait_s=0.01)
    with pytest.raises(SolfaError, match="cannot be reached"):
        Captioner(nobody, tmp_path).caption(SONG, seed=0)


def test_the_key_does_not_follow_a_redirect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "secret-token")
    with (
        server(lambda body, n: (200, captioned(GOOD))) as other,
        server(lambda body, n: (302, b""), Location=other.url + "/chat/completions") as fake,
    ):
        with pytest.raises(InputError, match="HTTP 302"):
            asker(fake, tmp_path, key_env="A_KEY").caption(SONG, seed=0)
        assert other.asked == []


def test_bad_settings_are_said_at_once(tmp_path: Path) -> None:
    for url in ("ftp://x/v1", "file:///etc/passwd", "localhost:80", "http://user:word@host/v1"):
        with pytest.raises(InputError, match="endpoint"):
            Endpoint(url=url, model="m")
    with pytest.raises(InputError, match="NO_SUCH_KEY"):
        Captioner(Endpoint(url="http://127.0.0.1:9/v1", model="m", key_env="NO_SUCH_KEY"), tmp_path)
