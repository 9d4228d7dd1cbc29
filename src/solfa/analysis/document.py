"""An analysis as JSON and back: schema ``solfa.analysis/1``, described in ``analysis.schema.json`` next to this file.

Keys carry their units. A later version may add keys; readers must pass over those they do not know. A key never
changes its meaning within one version.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import cache, partial
from typing import Any

from solfa.core.errors import InputError
from solfa.core.text import plain
from solfa.core.types import Alternative, Analysis, ChordSegment, Curve, Estimate, Span, TagTrack

SCHEMA = "solfa.analysis/1"


def to_json(analysis: Analysis) -> dict[str, Any]:
    """The document of an analysis: plain dicts, lists, numbers and strings."""
    return {"schema": SCHEMA, **plain(analysis)}


def from_json(document: Mapping[str, Any]) -> Analysis:
    """The analysis that ``to_json`` wrote.

    Raises InputError if the document has another schema, or lacks or garbles a part.
    """
    if not isinstance(document, Mapping) or document.get("schema") != SCHEMA:
        got = document.get("schema") if isinstance(document, Mapping) else type(document).__name__
        raise InputError(f"not an analysis that this version reads: schema {got!r}, expected {SCHEMA!r}.")
    try:
        analysis: Analysis = _one(Analysis, {"sounds": (), **document})  # documents of 0.1 have none
        return analysis
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"a damaged analysis document: {type(error).__name__} {error}.") from error


def _one(kind: Any, item: Mapping[str, Any]) -> Any:
    """A dataclass out of its fields; other keys are passed over."""
    return kind(**{name: item[name] if read is None else read(item[name]) for name, read in _readers_of(kind)})


@cache
def _readers_of(kind: Any) -> list[tuple[str, Callable[[Any], Any] | None]]:
    """The fields of a dataclass in order, and how each is read (None: as it is)."""
    return [(f.name, _READERS.get(f.name)) for f in fields(kind)]


def _each(kind: Any, items: Any) -> tuple[Any, ...]:
    readers = _readers_of(kind)
    names = {name for name, _ in readers} if all(read is None for _, read in readers) else None
    # The keys of most items are their fields: no need to pick them one by one.
    return tuple(kind(**item) if item.keys() == names else _one(kind, item) for item in items)


# How the fields are read, of an analysis and of its parts; those that are not here are numbers and strings.
_READERS: dict[str, Callable[[Any], Any]] = {
    "duration_s": float,
    **dict.fromkeys(("beats_s", "downbeats_s", "values", "extractors"), tuple),
    **dict.fromkeys(("tempo_bpm", "metre", "key", "loudness_lufs"), partial(_one, Estimate)),
    "alternatives": partial(_each, Alternative),
    "chords": partial(_each, ChordSegment),
    "energy": partial(_one, Curve),
    "voice": partial(_one, TagTrack),
    **dict.fromkeys(("instruments", "genres", "moods", "sounds"), partial(_each, TagTrack)),
    "spans": partial(_each, Span),
}
