"""How much language models may be asked, for all clients at once: calls, tokens, or nothing but the first prompt."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from solfa.core.errors import SolfaError

_CHARS_PER_TOKEN = 4  # of English, roughly
_MOST_SHOWN = 4000  # characters of one text, such as encoded sound


@dataclass(slots=True)
class Budget:
    """Limits that clients share; 0: none. With ``dry_run`` the first request raises DryRun instead.

    A request is refused if its own ``expected_tokens`` could pass the limit; answered, it counts as the endpoint says.
    """

    calls: int = 0
    tokens: int = 0
    dry_run: bool = False
    spent_calls: int = 0
    spent_tokens: int = 0
    _lock: Lock = field(default_factory=Lock, repr=False)

    @contextmanager
    def request(self, expected: int) -> Iterator[list[int]]:
        """One request, of which the block puts the tokens that it took in the list; SolfaError if it is refused."""
        with self._lock:
            rows = ((self.calls, self.spent_calls, 1, "calls"), (self.tokens, self.spent_tokens, expected, "tokens"))
            for limit, spent, more, name in rows:
                if limit and spent + more > limit:
                    next_one = (
                        f"{spent} of {limit} {name} of language models are spent, the next request may take {more}."
                    )
                    raise SolfaError(f"{next_one} What is done is kept; go on with a higher --llm-{name}.")
            self.spent_calls, self.spent_tokens = self.spent_calls + 1, self.spent_tokens + expected
        used = [0]
        try:
            yield used
        finally:
            with self._lock:
                self.spent_tokens += used[0] - expected


BUDGET = Budget()  # of this process, where a client has none of its own


def expected_tokens(request: Mapping[str, Any]) -> int:
    """About what a request asks, at four characters a token (sound is not counted), and the most it may answer."""
    parts = [p for m in request["messages"] for p in (m["content"] if isinstance(m["content"], list) else [m])]
    return sum(len(part.get("text") or part.get("content") or "") for part in parts) // _CHARS_PER_TOKEN + int(
        request.get("max_tokens", 0)
    )


def prompt_text(url: str, request: Mapping[str, Any]) -> str:
    """A request as a person reads it."""
    fields = json.dumps({name: value for name, value in request.items() if name != "messages"}, ensure_ascii=False)
    shown = [f"--- {m['role']}\n{str(m['content'])[:_MOST_SHOWN]}" for m in request["messages"]]
    most = f"Nothing was sent. This request would take at most about {expected_tokens(request)} tokens."
    return "\n".join([f"{url} {fields}", *shown, most])
