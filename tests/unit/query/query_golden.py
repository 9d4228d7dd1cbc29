"""The golden table: queries and the constraints they must give, written short."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from solfa.constraints import Chords, Constraint, Duration, Dynamics, InKey, Metre, Place, Presence, Tempo
from solfa.query import Query

TABLE = Path(__file__).parent / "query_golden.toml"


def cases() -> list[dict[str, Any]]:
    """Rows of the table: ``text`` and what is expected of it."""
    rows: list[dict[str, Any]] = tomllib.loads(TABLE.read_text(encoding="utf-8"))["case"]
    return rows


def short(constraint: Constraint) -> str:
    """A constraint on one line: what, "!" if negated, "*weight", "|group"."""
    sign = "!" if constraint.negated else ""
    weight = f" *{constraint.weight:g}" if constraint.weight != 1 else ""
    group = f" |{constraint.any_of}" if constraint.any_of else ""
    return f"{sign}{_body(constraint)}{weight}{group}"


def _body(c: Constraint) -> str:
    if isinstance(c, Tempo):
        return f"tempo {c.low_bpm:g}-{c.high_bpm:g}{'' if c.exact else ' feel'}"
    if isinstance(c, InKey):
        return f"key {'any' if c.tonic is None else c.tonic} {c.mode or 'any'}{' compatible' if c.compatible else ''}"
    if isinstance(c, Metre):
        return f"metre {' '.join(c.metres)}"
    if isinstance(c, Chords):
        marks = (" transposable" if c.transposable else "") + ("" if c.loose_quality else " exact")
        return f"chords {' '.join(map(str, c.chords))}{marks}"
    if isinstance(c, Presence):
        return f"{c.kind} {c.concept}{' solo' if c.solo else ''}{_place(c.place)}"
    if isinstance(c, Dynamics):
        return f"dynamics {c.shape}{_place(c.place)}"
    assert isinstance(c, Duration)
    return f"duration {c.low_s:g}-{c.high_s:g}"


def _place(place: Place | None) -> str:
    if place is None:
        return ""
    event = "" if place.event == "in" else f"{place.event} "
    if place.absolute:
        low, high = ("" if v is None else f"{v:g}" for v in (place.start_s, place.end_s))
        return f" @{event}{low}..{high}s"
    return f" @{event}{place.start:g}-{place.end:g}"


def outcome(query: Query) -> dict[str, Any]:
    """A parse in the form of the table; keys with nothing in them are left out."""
    row = {
        "expect": [short(c) for c in query.constraints],
        "phrases": list(query.phrases),
        "unwanted": list(query.negated_phrases),
        "unknown": list(query.unknown),
    }
    return {key: value for key, value in row.items() if value}
