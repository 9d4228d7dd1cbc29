"""An analysis as JSON and back: schema ``solfa.analysis/1``, described in ``analysis.schema.json`` beside this file.

Keys carry their units. A later version may add keys; readers must pass over those they do not know. A key never
changes its meaning within one version.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from solfa.core.errors import InputError
from solfa.core.types import Alternative, Analysis, ChordSegment, Curve, Estimate, Span, TagTrack

SCHEMA = "solfa.analysis/1"


def to_json(analysis: Analysis) -> dict[str, Any]:
    """The document of an analysis: plain dicts, lists, numbers and strings."""
    return {"schema": SCHEMA, **_plain(analysis)}


def from_json(document: Mapping[str, Any]) -> Analysis:
    """The analysis that ``to_json`` wrote.

    Raises
    ------
    InputError
        If the document has another schema, or lacks or garbles a part.
    """
    if not isinstance(document, Mapping) or document.get("schema") != SCHEMA:
        got = document.get("schema") if isinstance(document, Mapping) else type(document).__name__
        raise InputError(f"not an analysis that this version reads: schema {got!r}, expected {SCHEMA!r}.")
    try:
        known = {"sounds": (), **document}  # documents of 0.1 have none
        return Analysis(**{name: read(known[name]) for name, read in _READERS.items()})
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"a damaged analysis document: {type(error).__name__} {error}.") from error


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return {f.name: _plain(getattr(value, f.name)) for f in fields(value)} if is_dataclass(value) else value


def _rows(kind: Any) -> Callable[[Any], Any]:
    """A reader of lists of a dataclass without parts of its own."""
    names = [field.name for field in fields(kind)]
    return lambda items: tuple(kind(**{name: item[name] for name in names}) for item in items)


_spans, _alternatives = _rows(Span), _rows(Alternative)


def _estimate(item: Mapping[str, Any]) -> Estimate[Any]:
    others = _alternatives(item["alternatives"])
    return Estimate(value=item["value"], confidence=item["confidence"], alternatives=others, unit=item["unit"])


def _tag(item: Mapping[str, Any]) -> TagTrack:
    named = {name: item[name] for name in ("concept", "kind", "confidence", "share")}
    return TagTrack(**named, spans=_spans(item["spans"]))


def _tags(items: Any) -> tuple[TagTrack, ...]:
    return tuple(map(_tag, items))


def _curve(item: Mapping[str, Any]) -> Curve:
    return Curve(hop_s=item["hop_s"], values=tuple(item["values"]), unit=item["unit"])


_READERS: dict[str, Callable[[Any], Any]] = {
    "duration_s": float,
    **dict.fromkeys(("tempo_bpm", "metre", "key", "loudness_lufs"), _estimate),
    **dict.fromkeys(("beats_s", "downbeats_s", "extractors"), tuple),
    "chords": _rows(ChordSegment),
    "energy": _curve,
    "voice": _tag,
    **dict.fromkeys(("instruments", "genres", "moods", "sounds"), _tags),
}
