"""Hits in another order than that of their scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from solfa.collection import Attributes
from solfa.constraints.key import key_of
from solfa.core.filters import folded
from solfa.core.theory import Key
from solfa.retrieval.types import Hit

_Row = tuple[Hit, Attributes, int]


def _number(value: Any) -> float | None:
    return None if math.isnan(value) else float(value)


def _wheel(key: Key) -> tuple[int, str]:
    """Place on the Camelot wheel, whose neighbours mix well: 1A first, 12B last."""
    return int(key.camelot[:-1]), key.camelot[-1]


# What each of ``SORTS`` compares; None: no value.
_VALUES: dict[str, Callable[[_Row], Any]] = {
    "score": lambda row: -row[0].score,
    "tempo": lambda row: _number(row[1].column("tempo_bpm")[row[2], 0]),
    "key": lambda row: None if (key := row[1].column("key")[row[2], 0]) < 0 else _wheel(key_of(key)),
    "duration": lambda row: row[0].duration_s,
    "loudness": lambda row: _number(row[1].column("loudness_lufs")[row[2]]),
    "title": lambda row: folded(row[0].tags.title or row[0].path.stem),
    "artist": lambda row: folded(row[0].tags.artist) or None,
    "album": lambda row: folded(row[0].tags.album) or None,
    "date": lambda row: row[0].tags.date or None,
    "path": lambda row: str(row[0].path),
}


def ordered(hits: Sequence[Hit], sort: str, table: Attributes) -> list[Hit]:
    """The hits by a name of ``SORTS``, turned round if it starts with ``-``; those without a value last."""
    value_of = _VALUES[sort.removeprefix("-")]
    rows = table.rows(np.array([hit.track_id for hit in hits], np.int64))
    values = [(value_of((hit, table, int(row))), hit) for hit, row in zip(hits, rows, strict=True)]
    known = sorted((v for v in values if v[0] is not None), key=lambda v: v[0], reverse=sort.startswith("-"))
    return [hit for _, hit in known] + [hit for value, hit in values if value is None]
