"""P(satisfied) of every wish: over the columns of all tracks where that is enough, else track by track."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solfa.collection import Attributes, Collection, Timeline
from solfa.collection.records import CHORD, SPAN
from solfa.core.query import Chords, Constraint, Duration, Dynamics, InKey, Metre, Presence, Query, Tempo
from solfa.core.theory import Key
from solfa.core.types import FloatArray
from solfa.core.vocabulary import concept, is_other_source, lineage
from solfa.retrieval.fusion import base_rate
from solfa.retrieval.progression import Progressions, collapse, pair_share
from solfa.retrieval.progression import code as chord_code
from solfa.retrieval.progression import match as match_chords
from solfa.retrieval.satisfaction import (
    duration_fit,
    expected,
    key_base,
    key_fit,
    lookup,
    metre_base,
    metre_fit,
    tempo_base,
    tempo_fit,
)
from solfa.retrieval.shape import Spans, alone, dynamics_fit, presence_at

_PRESENCE_PRIOR = {"instrument": 0.2, "voice": 0.4, "genre": 0.1, "mood": 0.15, "use": 0.15, "sound": 0.05}
_CHORDS_BASE = 0.08
_SHAPE_BASE = 0.3
# P(the narrower thing | only the wider one was measured and is there): a Rhodes, given an electric piano.
_NARROWER = 0.6


@dataclass(frozen=True, eq=False, slots=True)
class Likelihood:
    """P(satisfied) of some tracks [shape=(N,)] and what it is for a track of which nothing is known."""

    p: FloatArray
    base: float

    def negated(self) -> Likelihood:
        """The same for the opposite wish."""
        return Likelihood(1 - self.p, 1 - self.base)


def needs_detail(wish: Constraint) -> bool:
    """Whether columns cannot answer it fully: chord sequences, shapes, an instrument at a place or by itself."""
    return isinstance(wish, (Chords, Dynamics)) or (
        isinstance(wish, Presence) and (wish.place is not None or wish.solo)
    )


def overruled(wish: Constraint, query: Query) -> bool:
    """Whether a negated presence covers one that is wanted ("no vocals, but a choir"): it then says nothing."""
    if not isinstance(wish, Presence) or not wish.negated or wish.place is not None:
        return False
    wanted = (c.concept for c in query.constraints if isinstance(c, Presence) and not c.negated)
    return any(wish.concept in lineage(name)[1:] for name in wanted)


def coarse(wish: Constraint, collection: Collection) -> Likelihood | None:
    """Likelihood of every track from the collection's columns; None if they hold nothing about the wish.

    For a wish that needs detail this is what the columns can say (a placed instrument must at least be there; that it
    must not be at a place says nothing about the rest).
    """
    if isinstance(wish, Presence) and wish.negated and (wish.place is not None or wish.solo):
        return None
    likelihood = _coarse(wish, collection)
    return likelihood.negated() if likelihood is not None and wish.negated else likelihood


def _coarse(wish: Constraint, collection: Collection) -> Likelihood | None:
    table = collection.attributes()
    match wish:
        case Tempo():
            return _chosen(table, "tempo", tempo_fit(table.column("tempo_bpm"), wish), tempo_base(wish))
        case InKey():
            fits = lookup(table.column("key"), lambda code: key_fit(key_of(code), wish), 24)
            return _chosen(table, "key", fits, key_base(wish))
        case Metre():
            return _chosen(table, "metre", _metre_fits(table.column("metre"), wish), metre_base(wish))
        case Duration():
            p = duration_fit(table.column("duration_s"), wish)
            return Likelihood(p, base_rate(p, 0.3))
        case Presence():
            return _presence(wish, table)
        case Chords():
            share = pair_share(table.chord_pairs(), wish) ** 2
            share[np.diff(table.bounds) == 0] = np.nan
            return _or_base(share, base_rate(share[~np.isnan(share)], _CHORDS_BASE))
        case Dynamics():
            p = dynamics_fit(collection.energy_profiles(), table.column("duration_s"), wish)
            return _or_base(p, _SHAPE_BASE)
        case _:
            return None


def _chosen(table: Attributes, name: str, fits_NA: FloatArray, base: float) -> Likelihood:
    return Likelihood(expected(fits_NA, table.column(f"{name}_confidence"), base), base)


def _presence(wish: Presence, table: Attributes) -> Likelihood | None:
    name = measured_as(wish.concept, table)
    if name is None:
        return None
    p = table.confidence(name) * np.float32(1.0 if name == wish.concept else _NARROWER)
    base = base_rate(p[~np.isnan(p)], _PRESENCE_PRIOR[concept(wish.concept).kind])
    return _or_base(p, base)


def measured_as(name: str, table: Attributes) -> str | None:
    """The concept itself or the nearest wider one that was looked for in any track; None if none was."""
    return next((wider for wider in lineage(name) if not np.isnan(table.confidence(wider)).all()), None)


def fine(wish: Constraint, table: Attributes, rows: NDArray[np.intp], timelines: Sequence[Timeline]) -> Likelihood:
    """Likelihood of tracks whose timelines are at hand, for wishes that need them."""
    durations_s = table.column("duration_s")[rows]
    match wish:
        case Chords():
            p, base = match_chords(progressions(timelines), wish, moved=False).p_N, _CHORDS_BASE
            p[[len(t.chords) == 0 for t in timelines]] = np.nan
        case Dynamics():
            fits = [dynamics_fit(t.energy[None], durations_s[i : i + 1], wish)[0] if len(t.energy) else np.nan
                    for i, t in enumerate(timelines)]  # fmt: skip
            p, base = np.array(fits, np.float32), _SHAPE_BASE
        case Presence():
            p, base = _placed(wish, table, rows, timelines, durations_s), _SHAPE_BASE
        case _:
            raise AssertionError(f"{type(wish).__name__} needs no detail")
    likelihood = _or_base(p, base)
    return likelihood.negated() if wish.negated else likelihood


def _placed(
    wish: Presence, table: Attributes, rows: NDArray[np.intp], timelines: Sequence[Timeline], durations_s: FloatArray
) -> FloatArray:
    name = measured_as(wish.concept, table)
    if name is None:
        return np.full(len(rows), np.nan, np.float32)
    p = table.confidence(name)[rows] * np.float32(1.0 if name == wish.concept else _NARROWER)
    if wish.place is not None:
        there = presence_at(spans_of(timelines, lambda text: text == name), wish.place, durations_s)
        p = np.where(np.isnan(p), p, there)
    if wish.solo:
        p = p * alone(spans_of(timelines, lambda text: is_other_source(text, name)), durations_s)
    return p


def _or_base(p: FloatArray, base: float) -> Likelihood:
    """Unknown (NaN) counts as the base rate."""
    return Likelihood(np.where(np.isnan(p), base, p).astype(np.float32), base)


def progressions(timelines: Sequence[Timeline]) -> Progressions:
    """The collapsed chords of tracks."""
    chords = np.concatenate([t.chords for t in timelines]) if timelines else np.zeros(0, CHORD)
    bounds = np.cumsum([0, *(len(t.chords) for t in timelines)])
    names = timelines[0].names if timelines else {}
    numbers, inverse = np.unique(chords["label"], return_inverse=True)
    codes = np.array([chord_code(names[number]) for number in numbers.tolist()], np.int64)[inverse]
    return collapse(codes, chords["start_s"], chords["end_s"], chords["confidence"], bounds)


def spans_of(timelines: Sequence[Timeline], wanted: Callable[[str], bool]) -> Spans:
    """Where any of the concepts that are wanted is heard in tracks."""
    spans = np.concatenate([t.spans for t in timelines]) if timelines else np.zeros(0, SPAN)
    track = np.repeat(np.arange(len(timelines)), [len(t.spans) for t in timelines])
    numbers, inverse = np.unique(spans["concept"], return_inverse=True)
    keep = np.array([wanted(timelines[0].names[number]) for number in numbers.tolist()], bool)[inverse]
    kept = spans[keep]
    return Spans(np.stack([kept["start_s"], kept["end_s"], kept["confidence"]], axis=1), track[keep])


def _metre_fits(metres_NA2: NDArray[np.uint8], wish: Metre) -> FloatArray:
    codes = metres_NA2[..., 0].astype(np.intp) * 256 + metres_NA2[..., 1]
    table = np.zeros(1 << 16, np.float32)
    for code in np.flatnonzero(np.bincount(codes.ravel(), minlength=1 << 16)).tolist():
        table[code] = metre_fit(f"{code // 256}/{code % 256}", wish)
    fits: FloatArray = table[codes]
    return fits


def key_of(code: int) -> Key:
    """The key with a number of ``records.key_number``."""
    return Key(code % 12, "minor" if code >= 12 else "major")
