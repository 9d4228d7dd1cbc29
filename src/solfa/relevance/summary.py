"""What a track is to someone who has not played it: the summary that judges, rerankers and people read.

A field that is not known is None, and never guessed; ``sources`` says for each known one what was measured, or the
sentence that it was taken from. The fields are those of a published recipe for judging relevance by language models,
and the four that its own judge needs and lacks (production style, timbre, vocal role and delivery).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import NoneType
from typing import Any, Literal, get_args

from solfa.audio.tags import clean
from solfa.core.errors import InputError
from solfa.core.text import plain

SCHEMA = "solfa.summary/1"
EnergyLevel = Literal["very_low", "low", "medium", "high", "very_high"]
TempoClass = Literal["slow", "medium", "fast", "variable"]
VocalRole = Literal["lead", "backing", "none"]
_MOST_CHARS, _MOST_ITEMS = 400, 16
_NUMBER = (int, float, NoneType)


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldSource:
    """Where a field comes from: a measurement with its value and confidence (None: not stated), or a sentence."""

    measurement: str
    value: str | float | None = None
    confidence: float | None = None
    sentence: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrackSummary:
    """One track in words and classes; None is not known.

    ``genre``, ``instruments``, ``mood`` and ``suitable_usages`` are ids of the vocabulary (``core.vocabulary``) where
    it has the word, else slugs. ``tempo`` is slow below 76 BPM (adagio), medium below 120 (moderato), else fast.
    ``tempo_bpm``, ``key`` and ``metre`` are always measured. ``maker`` names what made it, ``flags`` what is to be
    known about it ("energy_level: not valid, left out"), ``text`` what a language model read.
    """

    description: str
    dominant_feature: str | None = None
    energy_level: EnergyLevel | None = None
    genre: str | None = None
    genre_family: str | None = None
    instruments: tuple[str, ...] | None = None
    mood: tuple[str, ...] | None = None
    suitable_usages: tuple[str, ...] | None = None
    tempo: TempoClass | None = None
    tempo_bpm: float | None = None
    key: str | None = None
    metre: str | None = None
    vocals: str | None = None
    vocal_language: str | None = None
    vocal_role: VocalRole | None = None
    vocal_delivery: str | None = None
    production_style: str | None = None
    timbre: tuple[str, ...] | None = None
    lyrical_themes: tuple[str, ...] | None = None
    cultural_context: tuple[str, ...] | None = None
    sources: Mapping[str, FieldSource] = field(default_factory=dict)
    maker: str = "rules"
    flags: tuple[str, ...] = ()
    text: str = ""

    def known(self) -> dict[str, Any]:
        """The fields about the music that are known, without the description."""
        return {name: value for name in KINDS if (value := getattr(self, name)) is not None and name != "description"}


# What a field about the music may hold: a choice of words, "list" of texts, "number" above 0, or "text".
_CHOICES = {"energy_level": EnergyLevel, "tempo": TempoClass, "vocal_role": VocalRole}
_HOLD = {"tempo_bpm": "number"} | dict.fromkeys(
    ("instruments", "mood", "suitable_usages", "timbre", "lyrical_themes", "cultural_context"), "list"
)
KINDS: dict[str, tuple[str, ...] | str] = {
    f.name: get_args(_CHOICES[f.name]) if f.name in _CHOICES else _HOLD.get(f.name, "text")
    for f in fields(TrackSummary) if f.name not in ("sources", "maker", "flags", "text")
}  # fmt: skip


def valid(name: str, value: Any) -> Any:
    """The value of a field, cleaned and bounded; None stays None. Raises ValueError if the field cannot hold it."""
    kind = KINDS[name]
    if value is None and name != "description":
        return None
    if kind == "number" and type(value) in (int, float) and 0 < value < 1e4:
        return float(value)
    if kind == "list" and isinstance(value, list | tuple) and len(value) <= _MOST_ITEMS:
        return tuple(dict.fromkeys(_text(item) for item in value))
    if kind == "text":
        return _text(value)
    if isinstance(kind, tuple) and value in kind:
        return value
    raise ValueError(f"{name} cannot be {value!r:.80}")


def _text(value: Any) -> str:
    """Raises ValueError if it is not a text of a sensible length."""
    if isinstance(value, str) and 0 < len(text := clean(value)) <= _MOST_CHARS:
        return text
    raise ValueError(f"expected a text of 1 to {_MOST_CHARS} characters, got {value!r:.80}")


def to_json(summary: TrackSummary) -> dict[str, Any]:
    """The summary in schema ``solfa.summary/1``."""
    return {"schema": SCHEMA, **plain(summary)}


def from_json(document: Any) -> TrackSummary:
    """What ``to_json`` wrote. Raises InputError if it is of another schema, or lacks, adds or garbles a field."""
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        got = document.get("schema") if isinstance(document, dict) else type(document).__name__
        raise InputError(
            f"not a summary that this version reads: schema {got!r:.80}, expected {SCHEMA!r}. Make it again with: "
            f"solfa describe FILE --json"
        )
    known = {f.name for f in fields(TrackSummary)}
    try:
        json.dumps(document, allow_nan=False)
        if odd := known ^ (document.keys() - {"schema"}):
            raise ValueError(f"{min(odd)!r:.80} is missing or unknown")
        about = {name: valid(name, document[name]) for name in KINDS}
        sources = {name: FieldSource(**source) for name, source in document["sources"].items()}
        flags = tuple(map(_text, list.copy(document["flags"])))
        made = TrackSummary(**about, sources=sources, maker=_text(document["maker"]), flags=flags,
                            text=str.strip(document["text"]))  # fmt: skip
        if sources.keys() != made.known().keys() or not all(
            isinstance(s.measurement, str) and isinstance(s.sentence, str) and type(s.value) in (*_NUMBER, str)
            and type(s.confidence) in _NUMBER and 0 <= (s.confidence or 0) <= 1
            for s in sources.values()
        ):  # fmt: skip
            raise ValueError("a field without a source, or a source that is never written")
        return made
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"a damaged summary: {error}. Make it again with: solfa describe FILE --json") from error
