"""Captions by a language model behind any OpenAI-compatible endpoint (``solfa.llm``).

What comes back is data from outside: checked against a schema, cleaned, and held against the attributes. What does not
pass is rejected with a reason; nothing is put in its place unless the caller asked for that.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from solfa.audio.tags import clean
from solfa.core.theory import Chord
from solfa.core.vocabulary import concepts
from solfa.datagen.captions.checks import CaptionRules, broken_rules
from solfa.datagen.captions.facts import Spelling, grammar, harmony
from solfa.llm import Endpoint, ModelClient, Usage, json_objects

PROMPT_VERSION = 2  # of the instructions in grammar.toml
_ONE_SENTENCE = CaptionRules(complete=True, grounded=True, one_sentence=True, objective=True, most_words=120)
_CHARS_PER_TOKEN = 4.0  # of English, roughly; chords and numbers take more
_ANSWER_TOKENS = 70  # of one sentence as JSON


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A caption, or why there is none: ``rejected`` names the rules that were broken.

    Besides those of ``checks``: ``malformed`` (not the JSON object asked for), ``refused`` (429 or 5xx at every
    attempt).
    """

    text: str = ""
    rejected: tuple[str, ...] = ()


class Captioner:
    """Asks the endpoint, at most twice for one caption: the second time with the attributes in another order.

    Arguments and errors as of ``solfa.llm.Client``.
    """

    def __init__(self, endpoint: Endpoint, cache: Path) -> None:
        self._client = ModelClient(endpoint, cache)

    @property
    def usage(self) -> Usage:
        """What was asked so far."""
        return self._client.usage

    def caption(self, attributes: Mapping[str, Any], *, seed: int | str) -> Answer:
        """One caption of the attributes, shuffled by the seed; raises as ``ModelClient.text`` does."""

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
        """One caption of the rows, shuffled by the seed, by these instructions; ``check`` names the rules it breaks."""
        broken: tuple[str, ...] = ()
        for attempt in range(2):
            digest = hashlib.sha256(f"{seed}/{attempt}".encode()).digest()
            order = np.random.default_rng(int.from_bytes(digest[:8], "big")).permutation(len(rows))
            user = json.dumps([rows[i] for i in order], ensure_ascii=False)
            messages = [{"role": "system", "content": system}, {"role": "user", "content": user}]
            content = self._client.text(
                messages, form={"type": "json_object"}, seed=int.from_bytes(digest[:4], "big") >> 1
            )
            if content is None:
                return Answer(rejected=("refused",))
            text = _caption_of(content)
            if not (broken := ("malformed",) if text is None else check(text)):
                return Answer(text=text or "")
        return Answer(rejected=broken)


def estimate(clips: Iterable[Mapping[str, Any]], per_clip: int) -> Usage:
    """About what captions of clips with these attributes take, one attempt each.

    Four characters are taken as a token, and answers as one sentence; rejected ones take another attempt.
    """
    prompt = len(grammar()["llm"]["instructions"])
    chars = [prompt + len(json.dumps(facts(attributes), ensure_ascii=False)) for attributes in clips]
    requests, asked = per_clip * len(chars), round(per_clip * sum(chars) / _CHARS_PER_TOKEN)
    return Usage(requests=requests, prompt_tokens=asked, completion_tokens=_ANSWER_TOKENS * requests)


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


def _caption_of(content: str) -> str | None:
    """The text ``caption`` of the last JSON object in an answer that has one, cleaned to one line; None without one."""
    texts = (answer["caption"] for answer in reversed(json_objects(content)) if "caption" in answer)
    return next((clean(text) for text in texts if isinstance(text, str)), None)
