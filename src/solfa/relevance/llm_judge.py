"""A language model as judge: what it is asked, how answers are checked, both orders of a pair, no track lost.

The order of work is: describe, compare, decide, explain. Everything about tracks is JSON between ``<data>`` and
``</data>``, which no value can close; the words and the schemas of answers are in ``llm_judge.toml`` next to this file.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import soundfile

from solfa.audio import at_rate
from solfa.core.errors import SolfaError
from solfa.core.files import table_of
from solfa.core.types import Audio
from solfa.llm import ModelClient, data_block
from solfa.relevance.judge import NOT_KNOWN, Compared, FieldClaim, PairVerdict, Ranking, Winner, fields_of, in_words
from solfa.relevance.summary import TrackSummary

Paradigm = Literal["pairwise", "listwise", "compare"]
_TEXTS = table_of("solfa.relevance", "llm_judge.toml")
_WINNERS: dict[str, tuple[Winner, Winner]] = {"A": ("first", "second"), "B": ("second", "first"), "tie": ("tie", "tie")}
_ALIKE = {"same": 1.0, "partly": 0.5, "different": 0.0, "unknown": None}
_UNREAD = "the model gave no answer that can be read"


@dataclass(frozen=True, kw_only=True, slots=True)
class LlmJudge:
    """A ``Judge`` behind ``client``; raises what that raises. The other fields are as ``messages`` takes them: with
    ``sounds`` pairs are judged by these recordings as well."""

    client: ModelClient
    role: str = ""
    focus: tuple[str, ...] = ()
    sounds: tuple[Audio, Audio] | None = None
    pause_s: float | None = 1.0

    def pairwise(self, context: str, a: TrackSummary, b: TrackSummary) -> PairVerdict:
        """The verdict that both orders agree on, with their mean confidence; else a tie with half of it."""
        if a == b and self.sounds is None:
            return PairVerdict(winner="tie", reason="both summaries are the same", confidence=1.0)
        ab = self._ask("pairwise", context, {"A": a, "B": b}, sounds=self.sounds)
        ba = self._ask("pairwise", context, {"A": b, "B": a}, sounds=self.sounds and self.sounds[::-1])
        if ab is None or ba is None:
            return PairVerdict(winner="tie", reason=_UNREAD, confidence=0.0)
        winner = _WINNERS[ab["winner"]][0]
        agreed = winner == _WINNERS[ba["winner"]][1]
        confidence = (ab["confidence"] + ba["confidence"]) / (2 if agreed else 4)
        reason = ab["reason"] if agreed else f"the orders disagree: {ab['reason']} / {ba['reason']}"
        return PairVerdict(winner=winner if agreed else "tie", reason=reason, confidence=round(confidence, 3))

    def listwise(self, context: str, summaries: Mapping[str, TrackSummary]) -> Ranking:
        """One call. Tracks that the answer lacks come last in the order given; ids that are made up or repeated, and
        claims about fields that are not known, are dropped; ``notes`` count them."""
        answer = self._ask("listwise", context, summaries)
        if answer is None:
            return Ranking(order=tuple(summaries), claims=dict.fromkeys(summaries, ()), notes=(_UNREAD,))
        given: dict[str, list[dict[str, str]]] = {}
        for one in answer["ranking"]:
            if one["id"] in summaries:
                given.setdefault(one["id"], one["claims"])
        order = (*given, *(i for i in summaries if i not in given))
        claims = {i: tuple(FieldClaim(field=c["field"], value=in_words(summaries[i], c["field"]), text=c["text"])
                           for c in given.get(i, ()) if c["field"] in summaries[i].known()) for i in order}  # fmt: skip
        counts = {
            "tracks that the model left out, in the order of the search": len(order) - len(given),
            "ids that the model made up or repeated, dropped": len(answer["ranking"]) - len(given),
            "claims about fields that are not known, dropped":
                sum(map(len, given.values())) - sum(map(len, claims.values())),
        }  # fmt: skip
        return Ranking(order=order, claims=claims, notes=tuple(f"{what}: {n}" for what, n in counts.items() if n))

    def compare(self, a: TrackSummary, b: TrackSummary, attributes: Sequence[str]) -> tuple[Compared, ...]:
        """As ``Judge``; an attribute that the answer lacks is not known. Raises SolfaError if it cannot be read."""
        fields_of(attributes)
        answer = self._ask("compare", "", {"A": a, "B": b}, focus=tuple(attributes))
        if answer is None:
            raise SolfaError(f"{_UNREAD}. Compare by rules, or with another model.")
        unknown = {"first": NOT_KNOWN, "second": NOT_KNOWN, "alike": "unknown"}
        rows = {**dict.fromkeys(attributes, unknown), **{one["attribute"]: one for one in answer["attributes"]}}
        return tuple(Compared(attribute=name, first=rows[name]["first"], second=rows[name]["second"],
                              relation=rows[name]["alike"], match=_ALIKE[rows[name]["alike"]])
                     for name in attributes)  # fmt: skip

    def _ask(self, paradigm: Paradigm, context: str, tracks: Mapping[str, TrackSummary], **options: Any) -> Any:
        options = {"role": self.role, "focus": self.focus, "pause_s": self.pause_s, **options}
        system, user = (m["content"] for m in messages(paradigm, context, tracks, **options))
        return self.client.ask_checked(system, user, schema(paradigm))[0]


def schema(paradigm: Paradigm) -> Any:
    """The JSON schema of answers."""
    return _TEXTS["schemas"][paradigm]


def messages(
    paradigm: Paradigm, context: str, tracks: Mapping[str, TrackSummary], *, role: str = "", focus: Sequence[str] = (),
    sounds: tuple[Audio, Audio] | None = None, pause_s: float | None = 1.0,
) -> list[dict[str, Any]]:  # fmt: skip
    """The messages about tracks by their ids, which are ``A`` and ``B`` where there are two.

    ``role`` says who judges, ``focus`` names the attributes to look at. With ``sounds`` the model is given both as one
    recording with ``pause_s`` between, or if that is None the first alone, beside the description of the second.
    """
    seen = {i: {"description": track.description, **track.known()} for i, track in tracks.items()}
    data = {"context": context, "attributes": [*focus], "tracks": seen}
    look = _fill("focus", names=", ".join(focus)) if focus else ""
    system = _fill("system", role=role or _TEXTS["role"], focus=look).strip()
    user: Any = _fill(paradigm, data=data_block(data)).strip()
    if sounds is not None:
        how, sound = ("first", sounds[0]) if pause_s is None else ("both", two_as_one(*sounds, pause_s))
        user = [sound_part(sound), {"type": "text", "text": _fill(f"{how}_as_audio", pause=f"{pause_s or 0:g}") + user}]
    return [{"role": "system", "content": system}, {"role": "user", "content": user}]


def _fill(name: str, **values: str) -> str:
    """The text with values in its places, in one pass: what stands in a value is never a place."""
    first, *parts = _TEXTS[name].split("<<")
    return str(first + "".join(values[place] + rest for place, _, rest in (part.partition(">>") for part in parts)))


def two_as_one(a: Audio, b: Audio, pause_s: float = 1.0) -> Audio:
    """Two sounds as one with silence between, at the rate of the first [shape=(a + pause + b,)]."""
    rate = a.sample_rate_hz
    pause = np.zeros(round(pause_s * rate), np.float32)
    return Audio(np.concatenate([a.samples, pause, at_rate(b, rate).samples]), rate)


def sound_part(audio: Audio) -> dict[str, Any]:
    """The sound as a part of a message: a 16-bit WAV file in base64."""
    file = io.BytesIO()
    soundfile.write(file, audio.samples, audio.sample_rate_hz, format="WAV", subtype="PCM_16")
    return {"type": "input_audio",
            "input_audio": {"data": base64.b64encode(file.getvalue()).decode(), "format": "wav"}}  # fmt: skip
