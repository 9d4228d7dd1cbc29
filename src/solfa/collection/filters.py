"""Exact conditions over columns: each field that a filter asks about is read once an opening, then kept.

A field of the track is a column over the present tracks; a field of the file (copies may be tagged differently) is a
column over the present files.
"""

import math
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from solfa.collection.store import Ids
from solfa.core.errors import InputError, UnknownName
from solfa.core.filters import FIELDS, Filter
from solfa.core.theory import Key, pitch_class
from solfa.core.types import BoolArray, FloatArray
from solfa.core.vocabulary import concepts, lineage

Doubles = NDArray[np.float64]
_TRACK_COLUMNS = {name: name for name in ("tempo_bpm", "key", "metre", "duration_s", "loudness_lufs")}
_FILE_COLUMNS = {name: f"{name}_folded" for name in ("title", "artist", "album", "genre", "comment", "path")}
_FILE_COLUMNS |= {"date": "year", "tag_tempo_bpm": "tag_tempo_bpm", "tag_key": "tag_key"}


@dataclass(frozen=True, eq=False, slots=True)
class _Texts:
    """A column of texts: which of the distinct ones each row holds."""

    distinct: tuple[str | None, ...]
    codes: Ids


class Filters:
    """Which tracks, and which of their files, meet conditions; the connection goes on seeing one state."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._columns: dict[str, FloatArray | _Texts] = {}
        self._track_ids = _ids(db, "SELECT id FROM track WHERE present = 1 ORDER BY id")

    def select(self, filters: Sequence[Filter]) -> Ids:
        """Ids of the tracks that pass every filter, ascending; one on a tag holds if it holds for one of the files."""
        keep = np.ones(len(self._track_ids), bool)
        for item in filters:
            keep &= self._holds(item) != item.negated
        return self._track_ids[keep]

    def met(self, filters: Sequence[Filter], file_ids: Ids) -> Ids:
        """How many of the conditions on tags and paths that are not negated hold for each of these present files."""
        count = np.zeros(len(file_ids), np.int64)
        for item in filters:
            if item.field in _FILE_COLUMNS and not item.negated:
                count += self._column_holds(item)[np.searchsorted(self._files[0], file_ids)]
        return count

    def best_of_tracks(self, file_ids: Ids, scores: Doubles, allowed: Ids | None) -> tuple[Ids, Doubles]:
        """The tracks of those files that are present, of the ``allowed`` tracks, each with its best score."""
        files, tracks = self._files
        at = np.minimum(np.searchsorted(files, file_ids), max(len(files) - 1, 0))
        there = files[at] == file_ids if len(files) else np.zeros(len(file_ids), bool)
        best = np.full(len(self._track_ids), -np.inf)
        np.maximum.at(best, tracks[at[there]], scores[there])
        if allowed is not None:
            best[~np.isin(self._track_ids, allowed, assume_unique=True)] = -np.inf
        rows = np.flatnonzero(best > -np.inf)
        return self._track_ids[rows], best[rows]

    def _holds(self, item: Filter) -> BoolArray:
        if item.field not in FIELDS:
            raise UnknownName("filter field", item.field, FIELDS)
        if item.kind == "concept":
            wanted = [name for name in concepts() if not set(lineage(name)).isdisjoint(item.values)]
            sql = f"SELECT track_id FROM heard WHERE concept IN ({', '.join('?' * len(wanted))})"
            return np.isin(self._track_ids, _ids(self._db, sql, wanted))
        held = self._column_holds(item)
        if item.field in _TRACK_COLUMNS:
            return held
        of_track = np.zeros(len(self._track_ids), bool)
        of_track[self._files[1][held]] = True
        return of_track

    def _column_holds(self, item: Filter) -> BoolArray:
        """Whether the condition holds, its negation aside, for each row of its column."""
        test = _test(item)
        column = self._column(item.field)
        if isinstance(column, _Texts):
            fits = (bool(text) and test(text or "") for text in column.distinct)
            return np.fromiter(fits, np.bool_)[column.codes]
        above = column > item.low if item.low_open else column >= item.low
        return above & (column < item.high if item.high_open else column <= item.high)  # NaN: unknown, never true

    @cached_property
    def _files(self) -> tuple[Ids, Ids]:
        """Ids of the present files, ascending, and the row of each one's track."""
        rows = _ids(self._db, "SELECT id, track_id FROM file WHERE present = 1 ORDER BY id").reshape(-1, 2)
        return np.ascontiguousarray(rows[:, 0]), np.searchsorted(self._track_ids, rows[:, 1])

    def _column(self, name: str) -> FloatArray | _Texts:
        if name not in self._columns:
            table, column = ("track", name) if name in _TRACK_COLUMNS else ("file", _FILE_COLUMNS[name])
            rows = chain.from_iterable(self._db.execute(f"SELECT {column} FROM {table} WHERE present = 1 ORDER BY id"))
            if FIELDS[name].kind == "number":
                self._columns[name] = np.array(list(rows), np.float64)  # NULL becomes NaN
            else:
                numbers: dict[str | None, int] = {}
                codes = np.array([numbers.setdefault(text, len(numbers)) for text in rows], np.int64)
                self._columns[name] = _Texts(tuple(numbers), codes)
        return self._columns[name]


def _test(item: Filter) -> Callable[[str], bool]:
    """The condition on one text; numbers are compared column by column.

    Raises InputError if it asks for a value that does not exist.
    """
    if item.kind == "number" and (math.isnan(item.low) or math.isnan(item.high)):
        raise InputError(f"a bound of {item.text!r} is not a number.")
    if item.kind != "text":
        wanted = frozenset(_keys(item.values) if item.kind == "key" else item.values)
        return wanted.__contains__
    # Bytes of a file name that are no UTF-8 are stored as replacement characters.
    values = tuple(v.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for v in item.values)
    if item.contains:
        return lambda text: any(value in text for value in values)
    return values.__contains__


def _keys(values: Sequence[str]) -> list[str]:
    names = []
    for value in values:
        if " " in value.strip():
            names.append(str(Key.parse(value)))
        else:
            names += [str(Key(pitch_class(value), "major")), str(Key(pitch_class(value), "minor"))]
    return names


def _ids(db: sqlite3.Connection, sql: str, values: Sequence[str] = ()) -> Ids:
    return np.fromiter(chain.from_iterable(db.execute(sql, values)), np.int64)
