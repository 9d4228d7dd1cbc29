"""The measured attributes of all tracks at once, as columns: what scoring a whole collection reads."""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solfa.collection.records import (
    CONFIDENCE_STEPS,
    SUMMARY,
    TrackTimeline,
    confidences,
    progression,
    summary,
    timeline,
)
from solfa.collection.store import Ids
from solfa.constraints import Measured
from solfa.core.filters import PRESENT
from solfa.core.types import Analysis, FloatArray

_TRACKS_AT_ONCE = 8192


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class _Block:
    """Tracks for which the same concepts were looked for."""

    rows: Ids
    concepts: dict[str, int]
    steps_NC: NDArray[np.uint16]


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Attributes:
    """Columns over the N present tracks, in ascending order of id.

    ``summary`` has a row a track with the fields of ``records.SUMMARY``: duration_s, loudness_lufs (NaN: none), and the
    value with its three best alternatives, each with a confidence (0: no such choice): tempo_bpm [shape=(N, 4)], key
    (0..11 major, 12..23 minor, -1 none), metre [shape=(N, 4, 2)] (beats, note value).

    ``progressions`` holds the chord sequences one after the other, a byte a chord (``records.progression``); those of
    row i are ``progressions[chord_bounds[i]:chord_bounds[i + 1]]``.

    ``elsewhere`` are concepts that were looked for in other parts of a collection that is searched in parts.
    """

    track_ids: Ids
    summary: NDArray[np.void]
    progressions: NDArray[np.uint8]
    chord_bounds: Ids
    _blocks: tuple[_Block, ...]
    elsewhere: set[str] = field(default_factory=set)
    _confidences: dict[str, FloatArray] = field(default_factory=dict)
    _fields: dict[str, NDArray[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.track_ids)

    def chord_pairs(self) -> NDArray[np.uint8]:
        """Which chord follows which in each track: ``neighbours`` of the progressions, made at the first call."""
        if "pairs" not in self._fields:
            self._fields["pairs"] = neighbours(self.progressions, self.chord_bounds)
        return self._fields["pairs"]

    def column(self, name: str) -> NDArray[Any]:
        """One field of ``summary`` as an array of its own: an interleaved one is slow to go over."""
        if name not in self._fields:
            self._fields[name] = np.ascontiguousarray(self.summary[name])
        return self._fields[name]

    def confidence(self, concept: str) -> FloatArray:
        """How sure it is that a concept is present in each track [shape=(N,)]; NaN where it was not looked for."""
        if concept not in self._confidences:
            column = np.full(len(self), np.nan, np.float32)
            for block in self._blocks:
                if concept in block.concepts:
                    steps = block.steps_NC[:, block.concepts[concept]]
                    column[block.rows] = steps / np.float32(CONFIDENCE_STEPS)
            self._confidences[concept] = column
        return self._confidences[concept]

    def measured(self, concept: str) -> bool:
        """Whether a concept was looked for in any track of the collection."""
        return concept in self.elsewhere or concept in self.looked_for()

    def looked_for(self) -> set[str]:
        """The concepts that were looked for in any of these tracks."""
        return {concept for block in self._blocks if len(block.rows) for concept in block.concepts}

    def present(self, rows: Ids) -> Counter[str]:
        """In how many of these rows each concept is present."""
        counts: Counter[str] = Counter()
        for block in self._blocks:
            steps_NC = block.steps_NC[np.isin(block.rows, rows)] >= PRESENT * CONFIDENCE_STEPS
            counts.update(dict(zip(block.concepts, steps_NC.sum(axis=0).tolist(), strict=True)))
        return counts

    def rows(self, track_ids: Ids) -> Ids:
        """Where these tracks are in the columns.

        Raises KeyError if one of them is not present.
        """
        rows = np.searchsorted(self.track_ids, track_ids)
        if len(track_ids) and (rows.max() >= len(self) or not np.array_equal(self.track_ids[rows], track_ids)):
            raise KeyError(f"not all of these tracks are present: {track_ids}")
        return rows


def neighbours(codes: NDArray[np.uint8], bounds: Ids) -> NDArray[np.uint8]:
    """A packed bit for every pair of chords that are adjacent in a track [shape=(128, N)].

    Bit ``code << 5 | next`` is set where ``next`` follows ``code``, bit ``code << 5 | 31`` wherever there is ``code``.
    Pairs are asked for one by one, so all tracks of one are side by side.

    >>> bits = np.unpackbits(neighbours(np.array([1, 8, 6], np.uint8), np.array([0, 2, 3])), axis=0).T
    >>> [[divmod(int(pair), 32) for pair in np.flatnonzero(row)] for row in bits]
    [[(1, 8), (1, 31), (8, 31)], [(6, 31)]]
    """
    packed = np.zeros((128, len(bounds) - 1), np.uint8)
    for start in range(0, len(bounds) - 1, _TRACKS_AT_ONCE):
        part = bounds[start : start + _TRACKS_AT_ONCE + 1]
        own = codes[part[0] : part[-1]].astype(np.intp)
        track = np.repeat(np.arange(len(part) - 1), np.diff(part))
        flags = np.zeros((len(part) - 1, 1024), np.bool_)
        flags[track, own << 5 | 31] = True
        inside = np.flatnonzero(track[1:] == track[:-1])
        flags[track[inside], own[inside] << 5 | own[inside + 1]] = True
        packed[:, start : start + len(part) - 1] = np.packbits(flags, axis=1).T
    return packed


def load(db: sqlite3.Connection) -> Attributes:
    """The columns as this connection sees them."""
    rows = db.execute(
        "SELECT t.id, s.layout_id, s.summary, s.confidences, s.progression "
        "FROM track AS t JOIN scoring AS s ON s.track_id = t.id WHERE t.present = 1 ORDER BY t.id"
    ).fetchall()
    ids, layouts, summaries, confidences, progressions = zip(*rows, strict=True) if rows else ((),) * 5
    if any(len(summary) != SUMMARY.itemsize for summary in summaries):
        raise ValueError("a summary has another length")
    made = Attributes(
        track_ids=np.array(ids, np.int64),
        summary=np.frombuffer(b"".join(summaries), SUMMARY),
        progressions=np.frombuffer(b"".join(progressions), np.uint8),
        chord_bounds=np.concatenate([[0], np.cumsum(np.fromiter(map(len, progressions), np.int64, len(rows)))]),
        _blocks=tuple(_blocks(db, np.array(layouts, np.int64), confidences)),
    )
    _check(made)
    return made


def measured(analysis: Analysis) -> Measured:
    """One analysis as the evidence of constraints reads it, without a collection."""
    (names, steps), numbers, codes = confidences(analysis), dict[str, int](), progression(analysis)
    chords, spans, energy = timeline(analysis, lambda name: numbers.setdefault(name, len(numbers)))
    columns = {name: number for number, name in enumerate(json.loads(names))}
    row = np.zeros(1, np.int64)
    table = Attributes(
        track_ids=row, summary=summary(analysis), progressions=np.frombuffer(codes, np.uint8),
        chord_bounds=np.array([0, len(codes)]), _blocks=(_Block(rows=row, concepts=columns, steps_NC=steps[None]),),
    )  # fmt: skip
    named = {number: name for name, number in numbers.items()}
    there = TrackTimeline(chords=chords, spans=spans, energy=energy, energy_hop_s=analysis.energy.hop_s, names=named)
    return Measured(table=table, row=0, timeline=there)


def _check(made: Attributes) -> None:
    """Raise ValueError where a value is none that is ever written."""
    row, finite = made.summary, np.isfinite
    sure = [row[f"{name}_confidence"] for name in ("tempo", "key", "metre")]
    tempo, loudness = row["tempo_bpm"], row["loudness_lufs"]
    fine = (
        all(((c >= 0) & (c <= 1)).all() for c in sure)
        and (np.isnan(tempo) | ((tempo > 0) & finite(tempo))).all()
        and (np.isnan(loudness) | finite(loudness)).all()
        and (finite(row["duration_s"]) & (row["duration_s"] >= 0)).all()
        and ((row["key"] >= -1) & (row["key"] < 24)).all()
        and bool((made.progressions < 25).all() and (np.diff(made.track_ids) > 0).all())
        and sum(len(block.rows) for block in made._blocks) == len(made)
        and all(block.steps_NC.max(initial=0) <= CONFIDENCE_STEPS for block in made._blocks)
    )
    if not fine:
        raise ValueError("a measured value is out of its range")


def _blocks(db: sqlite3.Connection, layouts: Ids, confidences: Sequence[bytes]) -> Iterator[_Block]:
    for layout_id, names in db.execute("SELECT id, concepts FROM layout"):
        rows = np.flatnonzero(layouts == layout_id)
        concepts = json.loads(names)
        joined = b"".join(confidences if len(rows) == len(layouts) else [confidences[row] for row in rows.tolist()])
        yield _Block(
            rows=rows,
            concepts={name: number for number, name in enumerate(concepts)},
            steps_NC=np.frombuffer(joined, "<u2").reshape(len(rows), len(concepts)),
        )
