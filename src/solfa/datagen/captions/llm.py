"""Captions by a language model behind any OpenAI-compatible endpoint (``POST .../chat/completions``).

What comes back is data from outside: bounded, checked against a schema, cleaned, and held against the attributes. What
does not pass is rejected with a reason; nothing is put in its place unless the caller asked for that. Answers are kept
by the content of their request, so that a stopped run pays for none of them twice.
"""

import hashlib
import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from solfa.audio.tags import clean
from solfa.core.errors import InputError, SolfaError, UnknownName
from solfa.core.files import write_whole
from solfa.core.theory import Chord
from solfa.core.vocabulary import concepts
from solfa.datagen.captions.checks import CaptionRules, broken_rules
from solfa.datagen.captions.facts import Spelling, grammar, harmony
from solfa.jobs import heartbeat

PROMPT_VERSION = 2  # of the instructions in grammar.toml
_ONE_SENTENCE = CaptionRules(complete=True, grounded=True, one_sentence=True, objective=True, most_words=120)
OPTIONAL_FIELDS = ("temperature", "max_tokens", "seed", "response_format")
_MOST_BYTES = 1 << 20
_CHARS_PER_TOKEN = 4.0  # of English, roughly; chords and numbers take more
_ANSWER_TOKENS = 70  # of one sentence as JSON
_LONGEST_WAIT_S = 60.0
_GIVE_UP_AFTER = 8  # clips in a row that are refused
_GO_ON = "What is done is kept; run the same command again when it answers."


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """Where the model is and how it is asked.

    ``url`` ends before ``/chat/completions``; ``key_env`` names the environment variable with the key, empty if none is
    needed. ``retries`` are further attempts after a refusal that may pass (429, 5xx, no connection, timeout), with
    waits of 1, 2, 4 ... s. ``rate_per_s`` is the most requests sent; 0 is no limit. ``omit`` names fields of the
    request that are left out, for servers that refuse them. An answer that takes longer than ``timeout_s`` is given up.
    ``concurrency`` is how many requests wait for the server at a time.
    """

    url: str
    model: str
    key_env: str = ""
    timeout_s: float = 60.0
    retries: int = 4
    rate_per_s: float = 0.0
    temperature: float = 0.7
    most_tokens: int = 400
    first_wait_s: float = 1.0
    omit: tuple[str, ...] = ()
    concurrency: int = 8

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise InputError(f"endpoint {self.url!r}: expected http(s)://HOST/PATH without user names, up to /v1.")
        if unknown := [name for name in self.omit if name not in OPTIONAL_FIELDS]:
            raise UnknownName("optional field of a request", unknown[0], OPTIONAL_FIELDS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A caption, or why there is none: ``rejected`` names the rules that were broken.

    Besides those of ``checks``: ``malformed`` (not the JSON object asked for), ``refused`` (429 or 5xx at every
    attempt).
    """

    text: str = ""
    rejected: tuple[str, ...] = ()


@dataclass(kw_only=True, slots=True)
class Usage:
    """Requests that were answered by the endpoint and by kept answers, and tokens as the endpoint counts them.

    ``uncounted`` answers came without a count.
    """

    requests: int = 0
    kept: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    uncounted: int = 0

    def add(self, counts: Any) -> None:
        """One answer of the endpoint, with what it says of its tokens."""
        tokens = [counts.get(n) if isinstance(counts, dict) else 0 for n in ("prompt_tokens", "completion_tokens")]
        asked, answered = (n if type(n) is int and 0 <= n < 1 << 40 else 0 for n in tokens)
        self.requests, self.uncounted = self.requests + 1, self.uncounted + (not asked and not answered)
        self.prompt_tokens, self.completion_tokens = self.prompt_tokens + asked, self.completion_tokens + answered

    def cost(self, prompt_price: float, completion_price: float) -> float:
        """For prices of a million tokens."""
        return (self.prompt_tokens * prompt_price + self.completion_tokens * completion_price) / 1e6


class Captioner:
    """Asks the endpoint, at most twice for one caption: the second time with the attributes in another order.

    Answers are kept in the folder ``cache``, which is made if needed. Raises InputError if the environment variable for
    the key is not set.
    """

    def __init__(self, endpoint: Endpoint, cache: Path) -> None:
        self._endpoint, self._cache = endpoint, cache
        self._key = os.environ.get(endpoint.key_env, "") if endpoint.key_env else ""
        if endpoint.key_env and not self._key:
            raise InputError(f"the environment variable {endpoint.key_env} for the endpoint's key is not set.")
        self._open = urllib.request.build_opener(_NoRedirects).open
        self._next_s = 0.0
        self._silent = 0
        self._lock = Lock()  # threads share one captioner
        self.usage = Usage()

    def caption(self, attributes: Mapping[str, Any], *, seed: int | str) -> Answer:
        """One caption of the attributes, shuffled by the seed.

        Raises InputError if the endpoint refuses for good (a wrong key, an unknown model); SolfaError if it cannot be
        reached, or refuses many clips in a row.
        """

        def check(text: str) -> tuple[str, ...]:
            return broken_rules(text, attributes, _ONE_SENTENCE)

        return self.ask(grammar()["llm"]["instructions"], facts(attributes), seed=seed, check=check)

    def ask(
        self,
        system: str,
        rows: Sequence[Mapping[str, Any]],
        *,
        seed: int | str,
        check: Callable[[str], tuple[str, ...]],
    ) -> Answer:
        """One caption of the rows, shuffled by the seed, by these instructions; ``check`` names the rules it breaks.

        Raises InputError or SolfaError as ``caption``.
        """
        broken: tuple[str, ...] = ()
        for attempt in range(2):
            content = self._content(self._request(system, rows, f"{seed}/{attempt}"))
            if content is None:
                return Answer(rejected=("refused",))
            text = _caption_of(content)
            if not (broken := ("malformed",) if text is None else check(text)):
                return Answer(text=text or "")
        return Answer(rejected=broken)

    def _request(self, system: str, rows: Sequence[Mapping[str, Any]], seed: str) -> bytes:
        digest = hashlib.sha256(seed.encode()).digest()
        order = np.random.default_rng(int.from_bytes(digest[:8], "big")).permutation(len(rows))
        fields = {
            "model": self._endpoint.model,
            "temperature": self._endpoint.temperature,
            "max_tokens": self._endpoint.most_tokens,
            "seed": int.from_bytes(digest[:4], "big") >> 1,
            "response_format": {"type": "json_object"},
            "messages": [
                {"role": "system", "content": system},
                {"role": "user", "content": json.dumps([rows[i] for i in order], ensure_ascii=False)},
            ],
        }
        sent = {name: value for name, value in fields.items() if name not in self._endpoint.omit}
        return json.dumps(sent, ensure_ascii=False).encode()

    def _content(self, body: bytes) -> str | None:
        """What the model said to a request, from the cache or the endpoint; None if it refuses."""
        name = hashlib.sha256(self._endpoint.url.encode() + b"\0" + body).hexdigest()
        path = self._cache / name[:2] / f"{name}.json"
        if path.is_file():
            kept: str = json.loads(path.read_bytes())["content"]
            with self._lock:
                self.usage.kept += 1
            return kept
        content = self._ask(body)
        with self._lock:
            self._silent = 0 if content is not None else self._silent + 1
            if self._silent >= _GIVE_UP_AFTER:
                raise SolfaError(f"{self._endpoint.url} refused {self._silent} clips in a row. {_GO_ON}")
        if content:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, json.dumps({"content": content}).encode())
        return content

    def _ask(self, body: bytes) -> str | None:
        endpoint, headers = self._endpoint, {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        request = urllib.request.Request(f"{endpoint.url.rstrip('/')}/chat/completions", body, headers, method="POST")
        for attempt in range(endpoint.retries + 1):
            heartbeat()
            self._pace()
            wait_s = endpoint.first_wait_s * 2.0**attempt
            try:
                with self._open(request, timeout=endpoint.timeout_s) as response:
                    content, usage = _message(_read(response, time.monotonic() + endpoint.timeout_s))
                with self._lock:
                    self.usage.add(usage)
                return content
            except urllib.error.HTTPError as refused:
                with refused:
                    if refused.code != 429 and refused.code < 500:
                        reason = clean(refused.read(400).decode("utf-8", "replace"))[:200]
                        raise InputError(f"{endpoint.url} refuses with HTTP {refused.code}: {reason}. Check the "
                                         f"address, the model and the key; a field that it does not take is left out "
                                         f"with --llm-omit.") from None  # fmt: skip
                    after = refused.headers.get("Retry-After", "")
                    wait_s = float(after) if after.isdecimal() else wait_s
            except (OSError, HTTPException) as lost:  # no connection, timeout, a connection cut in the middle
                if attempt == endpoint.retries:
                    reason = f"{type(lost).__name__}: {lost}"[:200]
                    raise SolfaError(f"{endpoint.url} cannot be reached ({reason}). {_GO_ON}") from lost
            if attempt < endpoint.retries:
                time.sleep(min(wait_s, _LONGEST_WAIT_S))
        return None

    def _pace(self) -> None:
        if self._endpoint.rate_per_s > 0:
            with self._lock:
                now = time.monotonic()
                turn_s = max(now, self._next_s)
                self._next_s = turn_s + 1.0 / self._endpoint.rate_per_s
            time.sleep(turn_s - now)


def estimate(clips: Iterable[Mapping[str, Any]], per_clip: int) -> Usage:
    """About what captions of clips with these attributes take, one attempt each.

    Four characters are taken as a token, and answers as one sentence; rejected ones take another attempt.
    """
    prompt = len(grammar()["llm"]["instructions"])
    chars = [prompt + len(json.dumps(facts(attributes), ensure_ascii=False)) for attributes in clips]
    requests, asked = per_clip * len(chars), round(per_clip * sum(chars) / _CHARS_PER_TOKEN)
    return Usage(requests=requests, prompt_tokens=asked, completion_tokens=_ANSWER_TOKENS * requests)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """The key goes to the endpoint that was named and nowhere else."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def facts(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The attributes as the model sees them: names and plain values, chords as lead sheets write them.

    What is to be stated with a hedge has ``"sure": false``.
    """
    known, spelling = {name: value for name, value in attributes.items() if value}, Spelling.of(attributes)
    unsure = known.get("unsure", {})
    chords, some = (
        [spelling.symbol(Chord(c.root, c.quality)) for c in harmony(known.get(n, ()))]
        for n in ("chords", "some_chords")
    )
    found = {
        "tempo": f"{known['tempo_bpm']:.0f} BPM" if "tempo_bpm" in known else None,
        "tempo marking": known.get("tempo_marking"),
        "beats per bar": known.get("beats_per_bar"),
        "metre": None if "beats_per_bar" in known else known.get("metre"),
        "key": known.get("key"),
        "chords": " - ".join(chords),
        "some of the chords, in no order": ", ".join(some),
        **{n: [concepts()[i].title for i in known.get(n, ())] for n in ("instruments", "genre", "mood")},
        "vocals": None if attributes.get("voice") is None else "yes" if attributes["voice"] else "none",
    }
    hedged = {"tempo": unsure.get("tempo_bpm") and f"{unsure['tempo_bpm']:.0f} BPM", "metre": unsure.get("metre"),
              "key": unsure.get("key")}  # fmt: skip
    rows: list[dict[str, Any]] = [{"name": name, "value": value} for name, value in found.items() if value]
    return rows + [{"name": name, "value": value, "sure": False} for name, value in hedged.items() if value]


def _read(response: HTTPResponse, end_s: float) -> bytes:
    """At most a little over the limit, and no longer than until then: a server may send a byte a minute."""
    data = b""
    while len(data) <= _MOST_BYTES and (part := response.read1(1 << 16)):
        data += part
        if time.monotonic() > end_s:
            raise TimeoutError("the answer took too long")
    return data


def _message(data: bytes) -> tuple[str, Any]:
    """The text of the first choice, and what the answer says of tokens; what is not of the protocol is no text."""
    try:
        answer = json.loads(data) if len(data) <= _MOST_BYTES else {}
        content = answer["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        return "", None
    if isinstance(content, list):  # parts, of which those with text count
        content = "".join(p["text"] for p in content if isinstance(p, dict) and isinstance(p.get("text"), str))
    return content if isinstance(content, str) else "", answer.get("usage")


_THOUGHT = re.compile(r"(?is)^.*</(?:think|thinking|thought|reasoning)>")
_MOST_OBJECTS = 256


def _caption_of(content: str) -> str | None:
    """The caption in an answer, cleaned to one line; None if there is no JSON object with a text ``caption`` in it.

    Thinking before the object, a fence around it, words around it and other keys in it are passed over; of several
    objects the last one counts.

    >>> _caption_of('<think>A {"caption": "draft"}?</think> Here: ```json\\n{"caption": "Jazz.", "notes": []}\\n```')
    'Jazz.'
    """
    content, found, end = _THOUGHT.sub("", content, count=1), None, 0
    for _ in range(_MOST_OBJECTS):
        if (at := content.find("{", end)) < 0:
            break
        try:
            answer, end = json.JSONDecoder().raw_decode(content, at)
        except (ValueError, RecursionError):
            end = at + 1
        else:
            found = clean(answer["caption"]) if isinstance(answer.get("caption"), str) else found
    return found
