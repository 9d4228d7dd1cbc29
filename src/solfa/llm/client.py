"""The client of language models behind any OpenAI-compatible endpoint (``POST .../chat/completions``), or ``local``.

What comes back is data from outside: bounded, and a JSON object or nothing. Answers are kept by the content of their
request, so that a stopped run pays for none of them twice. Nothing is sent but to the endpoint that the user names.
"""

import hashlib
import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

from solfa.audio.tags import clean
from solfa.core.errors import DryRun, InputError, SolfaError, UnknownName
from solfa.core.files import write_whole
from solfa.jobs import heartbeat
from solfa.llm.budget import BUDGET, Budget, expected_tokens, prompt_text
from solfa.llm.local import LOCAL, model_file, serve

Messages = Sequence[Mapping[str, Any]]
OPTIONAL_FIELDS = ("temperature", "max_tokens", "seed", "response_format")
_MOST_BYTES = 1 << 20
_LONGEST_WAIT_S, _LOCAL_TIMEOUT_S = 60.0, 1800.0  # local requests wait for each other
_GIVE_UP_AFTER = 8  # requests in a row that are refused
_GO_ON = "What is done is kept; run the same command again when it answers."


@dataclass(frozen=True, kw_only=True, slots=True)
class Endpoint:
    """Where the model is and how it is asked.

    ``url`` ends before ``/chat/completions``; or it is ``local``, and ``model``, one that ``solfa models pull`` fetched
    or a GGUF file, runs in this process. ``key_env`` names the environment variable with its key, if any.
    ``retries`` follow a refusal that may pass (429, 5xx, no connection, timeout), after 1, 2, 4 ... s. ``rate_per_s``
    is the most requests sent (0: no limit), ``concurrency`` how many wait for the server at a time. ``omit`` names
    optional fields of the request that a server refuses. An answer that takes longer than ``timeout_s`` is given up.
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
        if self.url != LOCAL and (parts.scheme not in ("http", "https") or not parts.hostname or parts.username):
            raise InputError(
                f"endpoint {self.url!r}: expected http(s)://HOST/PATH without user names, up to /v1, or local."
            )
        if unknown := [name for name in self.omit if name not in OPTIONAL_FIELDS]:
            raise UnknownName("optional field of a request", unknown[0], OPTIONAL_FIELDS)


@dataclass(kw_only=True, slots=True)
class Usage:
    """Requests that the endpoint and kept answers answered, tokens as it counts them, and answers without a count."""

    requests: int = 0
    kept: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    uncounted: int = 0

    def add(self, counts: Any) -> int:
        """One answer of the endpoint, with what it says of its tokens; gives their sum."""
        tokens = [counts.get(n) if isinstance(counts, dict) else 0 for n in ("prompt_tokens", "completion_tokens")]
        asked, answered = (n if type(n) is int and 0 <= n < 1 << 40 else 0 for n in tokens)
        self.requests, self.uncounted = self.requests + 1, self.uncounted + (not asked and not answered)
        self.prompt_tokens, self.completion_tokens = self.prompt_tokens + asked, self.completion_tokens + answered
        return asked + answered

    def cost(self, prompt_price: float, completion_price: float) -> float:
        """For prices of a million tokens."""
        return (self.prompt_tokens * prompt_price + self.completion_tokens * completion_price) / 1e6


class ModelClient:
    """Asks one endpoint and keeps its answers in the folder ``cache``, within a ``budget`` (None: that of the process).

    Threads may share it. Raises InputError if the environment variable for the key is not set.
    """

    def __init__(self, endpoint: Endpoint, cache: Path, budget: Budget | None = None) -> None:
        self.endpoint, self._cache, self._budget = endpoint, cache, budget or BUDGET
        self._key = os.environ.get(endpoint.key_env, "") if endpoint.key_env else ""
        if endpoint.key_env and not self._key:
            raise InputError(f"the environment variable {endpoint.key_env} for the endpoint's key is not set.")
        self._open = urllib.request.build_opener(_NoRedirects).open
        self._next_s, self._silent, self._lock = 0.0, 0, Lock()
        self.usage = Usage()

    def ask(
        self,
        messages: Messages,
        schema: Mapping[str, Any],
        *,
        fault: Callable[[dict[str, Any]], str] = lambda answer: "",
        seed: int = 0,
    ) -> dict[str, Any] | None:
        """The JSON object of an answer; None if there is none in it, or the endpoint refused at every attempt.

        ``schema`` is a JSON schema, which is sent; servers may ignore it, so ``fault`` says what is wrong with an
        object ("" if nothing is). What is wrong is told to the model once; the second answer is given back as it is.

        Raises InputError and SolfaError as ``text`` does.
        """
        form = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}
        said = self.text(messages, form=form, seed=seed)
        objects = json_objects(said or "")
        if said is None or (objects and not (wrong := fault(objects[-1]))):
            return objects[-1] if objects else None
        repair = (f"That answer cannot be used: {wrong if objects else 'it holds no JSON object'}. Answer again, with "
                  f"one JSON object of the schema and nothing else.")  # fmt: skip
        turns = ({"role": "assistant", "content": said[:_MOST_REPAIRED]}, {"role": "user", "content": repair})
        again = json_objects(self.text([*messages, *turns], form=form, seed=seed) or "")
        return again[-1] if again else objects[-1] if objects else None

    def ask_checked(
        self, system: str, user: Any, schema: Mapping[str, Any], fault: Callable[[dict[str, Any]], str] = lambda _: ""
    ) -> tuple[dict[str, Any] | None, str]:
        """As ``ask``, but an answer of the schema without a ``fault``, its texts cleaned; or None and what is wrong."""

        def wrong(answer: dict[str, Any]) -> str:
            try:
                return fault(checked(answer, schema))
            except ValueError as error:
                return str(error)

        said = self.ask([{"role": "system", "content": system}, {"role": "user", "content": user}], schema, fault=wrong)
        why = "it gave no JSON object" if said is None else wrong(said)
        return (None, why) if why else (checked(said, schema), "")

    def text(self, messages: Messages, *, form: Mapping[str, Any] | None = None, seed: int = 0) -> str | None:
        """What the model said, from the kept answers or the endpoint; None if it refuses at every attempt.

        ``form`` is the ``response_format`` of the request.

        Raises InputError if the endpoint refuses for good (a wrong key, an unknown model), or the answers cannot be
        kept; SolfaError if it cannot be reached, refuses many requests in a row, or the budget is spent.
        """
        fields = {
            "model": self.endpoint.model, "temperature": self.endpoint.temperature,
            "max_tokens": self.endpoint.most_tokens, "seed": seed,
            **({} if form is None else {"response_format": form}), "messages": messages,
        }  # fmt: skip
        sent = {name: value for name, value in fields.items() if name not in self.endpoint.omit}
        if self._budget.dry_run:
            raise DryRun(prompt_text(self.endpoint.url, sent))
        body = json.dumps(sent, ensure_ascii=False).encode("utf-8", "replace")  # a model may answer half a character
        source = model_file(self.endpoint.model)[1] if self.endpoint.url == LOCAL else self.endpoint.url
        name = hashlib.sha256(source.encode() + b"\0" + body).hexdigest()
        path = self._cache / name[:2] / f"{name}.json"
        if (kept := _kept(path)) is not None:
            with self._lock:
                self.usage.kept += 1
            return kept
        content = self._sent(body, expected_tokens(sent))
        with self._lock:
            self._silent = 0 if content is not None else self._silent + 1
            if self._silent >= _GIVE_UP_AFTER:
                raise SolfaError(f"{self.endpoint.url} refused {self._silent} requests in a row. {_GO_ON}")
        if content:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_whole(path, json.dumps({"content": content}).encode())
            except OSError as error:
                raise InputError(f"cannot keep answers in {self._cache}: {error.strerror}.") from None
        return content

    def _sent(self, body: bytes, expected: int) -> str | None:
        endpoint, headers = self.endpoint, {"Content-Type": "application/json"}
        url, key, timeout_s = endpoint.url, self._key, endpoint.timeout_s
        if url == LOCAL:
            (url, key), timeout_s = serve(endpoint.model), _LOCAL_TIMEOUT_S
        if key:
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(f"{url.rstrip('/')}/chat/completions", body, headers, method="POST")
        for attempt in range(endpoint.retries + 1):
            heartbeat()
            self._pace()
            wait_s = endpoint.first_wait_s * 2.0**attempt
            try:
                with self._budget.request(expected) as used:
                    with self._open(request, timeout=timeout_s) as response:
                        content, usage = _message(_read(response, time.monotonic() + timeout_s))
                    with self._lock:
                        used[0] = self.usage.add(usage) or expected
                return content
            except urllib.error.HTTPError as refused:
                with refused:
                    if refused.code != 429 and refused.code < 500:
                        data = b""
                        with suppress(OSError, HTTPException):  # it may be as slow as any answer
                            data = _read(refused, time.monotonic() + timeout_s)
                        reason = clean(data.decode("utf-8", "replace"))[:200]
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
        if self.endpoint.rate_per_s > 0:
            with self._lock:
                now = time.monotonic()
                turn_s = max(now, self._next_s)
                self._next_s = turn_s + 1.0 / self.endpoint.rate_per_s
            time.sleep(turn_s - now)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """The key goes to the endpoint that was named and nowhere else."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _kept(path: Path) -> str | None:
    """The answer in a file; None if there is none, or none that was ever written."""
    try:
        kept = json.loads(path.read_bytes())["content"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    return kept if isinstance(kept, str) else None


def _read(response: Any, end_s: float) -> bytes:
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


def data_block(value: Any) -> str:
    """JSON between ``<data>`` and ``</data>``, which nothing in it can close."""
    shown = json.dumps(value, ensure_ascii=False).replace("<", "\\u003c").replace(">", "\\u003e")
    return f"<data>\n{shown}\n</data>"


def checked(value: Any, form: Mapping[str, Any], name: str = "the answer") -> Any:
    """A value of the schema ``form``, its texts cleaned and cut. Raises ValueError, which says what is wrong."""
    kind = form.get("type")
    if kind is None and value in form["enum"]:
        return value
    if kind == "string" and isinstance(value, str):
        return clean(value)[:_MOST_TEXT]
    if kind in ("integer", "boolean") and type(value) is {"integer": int, "boolean": bool}[kind]:
        return value
    if kind == "number" and type(value) in (int, float) and 0 <= value <= 1:
        return float(value)
    if kind == "array" and isinstance(value, list):
        return [checked(item, form["items"], f"each of {name}") for item in value]
    if kind == "object" and isinstance(value, dict) and value.keys() >= {*form["required"]}:
        return {n: checked(value[n], part, n) for n, part in form["properties"].items()}
    raise ValueError(f"{name} must be {json.dumps(form)}")


_THOUGHT = re.compile(r"(?is)^.*</(?:think|thinking|thought|reasoning)>")
_MOST_OBJECTS, _MOST_REPAIRED, _MOST_TEXT = 256, 4000, 400


def json_objects(content: str) -> list[dict[str, Any]]:
    """The JSON objects in an answer, in order; thinking before them, and fences and words around them, are passed over.

    >>> json_objects('<think>A {"caption": "draft"}?</think> Here: ```json\\n{"caption": "Jazz.", "notes": [{}]}\\n```')
    [{'caption': 'Jazz.', 'notes': [{}]}]
    """
    content, found, end = _THOUGHT.sub("", content, count=1), list[dict[str, Any]](), 0
    for _ in range(_MOST_OBJECTS):
        if (at := content.find("{", end)) < 0:
            break
        try:
            answer, end = json.JSONDecoder().raw_decode(content, at)
        except (ValueError, RecursionError):
            end = at + 1
        else:
            found.append(answer)
    return found
