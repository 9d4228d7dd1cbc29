"""Queries whose truth is known, made from annotations: what the two figures of `finegrained` are measured with.

Queries state tempo, key, metre and a loop of four major or minor triads that a track truly contains: for CS@K one to
three of them, for sensitivity two, of which one is made false. The control is the same two in another order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from solfa.core.query import Chords, Constraint, InKey, Metre, Tempo
from solfa.core.theory import Chord
from solfa.evaluation.claims import Attributes, Kind, describe
from solfa.evaluation.finegrained import (
    Satisfaction,
    Sensitivity,
    TwinQuery,
    attribute_sensitivity,
    constraint_satisfaction,
    twin_queries,
)
from solfa.evaluation.relevance import Ints
from solfa.evaluation.truth import TrackTruth

# For each text the rows of the pool, best first; a row that is not returned counts as the last.
Rank = Callable[[Sequence[str]], Sequence[Sequence[int]]]
_FIELDS: dict[str, tuple[Kind, ...]] = {
    "tempo_bpm": ("bpm", "marking"), "key": ("key",), "beats": ("beats",), "chords": ("chords",)
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class FineQueries:
    """Texts with what each asks, and twins that differ in the truth of one attribute."""

    texts: tuple[str, ...]
    wishes: tuple[tuple[Constraint, ...], ...]
    twins: tuple[TwinQuery, ...]


def loop_of(truth: TrackTruth) -> tuple[Chord, ...]:
    """The first four neighbouring triads of a track that are major or minor; empty if there are none."""
    triads: list[Chord | None] = []
    for segment in truth.music.chords:
        root, _, quality = segment.label.partition("(")[0].partition("/")[0].partition(":")
        named = None if segment.label in ("N", "X") else Chord.parse(root)
        plain = quality.startswith(("min", "maj", "7")) or quality == ""
        chord = Chord(named.root, "min" if quality.startswith("min") else "maj") if named and plain else None
        if not triads or chord != triads[-1]:
            triads.append(chord)
    for i in range(len(triads) - 3):
        four = [c for c in triads[i : i + 4] if c is not None]
        if len(four) == 4 and all(a != b for a, b in pairwise([*four, four[0]])):
            return tuple(four)
    return ()


def attributes_of(truth: TrackTruth) -> Attributes:
    """The statements that are true of a track."""
    music = truth.music
    beats = None if music.metre is None else int(music.metre.split("/")[0])
    return Attributes(key=music.key, tempo_bpm=music.tempo_bpm, beats=beats, chords=loop_of(truth))


def constraints_of(stated: Attributes) -> tuple[Constraint, ...]:
    """The same statements as constraints, independent of solfa's parser."""
    wishes: list[Constraint] = []
    if stated.tempo_bpm is not None:
        bpm = round(stated.tempo_bpm)
        wishes.append(Tempo(text="", low_bpm=bpm, high_bpm=bpm))
    if stated.key is not None:
        wishes.append(InKey(text="", tonic=stated.key.tonic, mode=stated.key.mode))
    if stated.beats is not None:
        wishes.append(Metre(text="", metres=(f"{stated.beats}/4", f"{stated.beats}/8")))
    if stated.chords:
        wishes.append(Chords(text="", chords=stated.chords))
    return tuple(wishes)


def fine_queries(truths: Sequence[TrackTruth], *, num_targets: int | None = None, seed: int = 0) -> FineQueries:
    """Queries about a pool's tracks, that follow from the seed; the first ``num_targets`` get twins, all if None."""
    rng = np.random.default_rng(seed)
    known = [attributes_of(t) for t in truths]
    some = (_only(a, rng.permutation(list(_FIELDS))[: rng.integers(1, 4)].tolist()) for a in known)
    asked = [a for a in some if a != Attributes()]
    return FineQueries(
        texts=tuple(describe(a, seed=i) for i, a in enumerate(asked)),
        wishes=tuple(constraints_of(a) for a in asked),
        twins=tuple(_twins(known[:num_targets], rng, seed)),
    )


def _only(stated: Attributes, fields: Sequence[str]) -> Attributes:
    return replace(Attributes(), **{field: getattr(stated, field) for field in fields})


def _twins(known: Sequence[Attributes], rng: np.random.Generator, seed: int) -> list[TwinQuery]:
    # Two attributes each: a query that states all keeps its track on top of a small pool with one statement false.
    twins: list[TwinQuery] = []
    for row, attributes in enumerate(known):
        for field, kinds in _FIELDS.items():
            short = _only(attributes, [field, str(rng.choice([f for f in _FIELDS if f != field]))])
            text = describe(short, seed=row)
            other = next((t for i in range(1, 20) if (t := describe(short, seed=row + i)) != text), None)
            if other is not None:
                twins += twin_queries([text], [row], kinds=kinds, controls=[other], seed=seed)
    return twins


def measure(
    rank: Rank, queries: FineQueries, truths: Sequence[TrackTruth], k: int, *, seed: int = 0
) -> tuple[Satisfaction, dict[str, Sensitivity]]:
    """CS@K and attribute sensitivity of a system; every text is ranked once.

    Raises
    ------
    InputError
        If nothing can be scored: see `constraint_satisfaction` and `attribute_sensitivity`.
    """
    paired = (t for twin in queries.twins for t in (twin.text, twin.false_text, twin.control_text) if t)
    unique = list(dict.fromkeys([*queries.texts, *paired]))
    orders = dict(zip(unique, rank(unique), strict=True))

    def places(asked: Sequence[str], targets: Ints) -> Ints:
        found = (np.flatnonzero(np.asarray(orders[text]) == row) for text, row in zip(asked, targets, strict=True))
        return np.array([at[0] + 1 if len(at) else len(truths) for at in found], np.int64)

    found = [orders[text] for text in queries.texts]
    return (
        constraint_satisfaction(queries.wishes, found, truths, k, seed=seed),
        attribute_sensitivity(places, queries.twins, len(truths), seed=seed),
    )
