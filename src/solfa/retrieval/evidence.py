"""What a hit has to show for each wish: asked, measured, how sure, where."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from solfa.collection import Attributes, Timeline
from solfa.core.query import Chords, Constraint, Duration, Dynamics, InKey, Metre, Place, Presence, Tempo
from solfa.core.types import Span
from solfa.core.vocabulary import concept, is_other_source, lineage
from solfa.query.explain import describe as asked_words
from solfa.query.explain import label
from solfa.retrieval.measures import key_of, progressions, spans_of
from solfa.retrieval.progression import match, places
from solfa.retrieval.satisfaction import key_fit, metre_fit, tempo_fit
from solfa.retrieval.shape import alone, dynamics_fit, place_s, presence_at
from solfa.retrieval.types import Evidence

T = TypeVar("T")
HEARD = 0.5
NONE_FOUND = "none found"


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Measured:
    """What was measured about one track: its row in the columns and its timeline, which is all that evidence needs.

    Both are single precision; values are given back as the analysis holds them (``analyze.tidy``).
    """

    table: Attributes
    row: int
    timeline: Timeline

    @property
    def duration_s(self) -> float:
        """Length of the track."""
        return round(float(self.table.column("duration_s")[self.row]), 3)

    def choices(self, name: str) -> list[tuple[Any, float]]:
        """A value and its best alternatives as a field of the columns has them, each with its confidence."""
        fields = name, f"{name.removesuffix('_bpm')}_confidence"
        values, confidences = (self.table.column(field)[self.row].tolist() for field in fields)
        return [(value, round(sure, 4)) for value, sure in zip(values, confidences, strict=True)]

    def confidence(self, name: str) -> float:
        """How sure it is that a concept is heard; NaN where it was not looked for."""
        return round(float(self.table.confidence(name)[self.row]), 4)


def describe(wish: Constraint, track: Measured, likelihood: tuple[float, float] | None) -> Evidence:
    """Evidence of one track for one constraint.

    ``likelihood`` is P(satisfied) and its base rate as the score took them, the negation included; None where the wish
    did not count. So what is shown never contradicts the order: satisfied from one half on, not below the base rate,
    undecided between.
    """
    measured, confidence, spans = next(tell for kind, tell in _KINDS if isinstance(wish, kind))(wish, track)
    satisfied = None
    if likelihood is not None and confidence > 0:
        p, base = likelihood
        satisfied = True if p >= HEARD else False if p < max(base, 0.1) else None
    return Evidence(constraint=label(wish), asked=asked_words(wish), measured=measured, confidence=float(confidence),
                    satisfied=satisfied, spans=spans)  # fmt: skip


_Told = tuple[str, float, tuple[Span, ...]]  # what was measured, how surely, where


def _estimate(choices: list[tuple[T, float]], show: Callable[[T], str], fits: Callable[[T], bool]) -> _Told:
    """Of a value and its alternatives, each with a confidence."""
    if not choices:
        return "could not be measured", 0.0, ()
    (value, confidence), *others = choices
    told = show(value)
    fitting = next(((v, c) for v, c in others if fits(v) and c >= 0.1), None)
    if fitting is not None and not fits(value):
        told += f", or {show(fitting[0])} ({fitting[1]:.2f})"
    return told, confidence, ()


def _tempo(wish: Tempo, track: Measured) -> _Told:
    choices = [(round(v, 2), c) for v, c in track.choices("tempo_bpm") if not math.isnan(v)]
    return _estimate(choices, lambda v: f"{v:.1f} BPM", lambda v: float(tempo_fit(np.array([v]), wish)[0]) >= HEARD)


def _key(wish: InKey, track: Measured) -> _Told:
    choices = [(key_of(v), c) for v, c in track.choices("key") if v >= 0]
    return _estimate(choices, str, lambda v: key_fit(v, wish) >= HEARD)


def _metre(wish: Metre, track: Measured) -> _Told:
    choices = [(f"{beats}/{unit}", c) for (beats, unit), c in track.choices("metre") if unit]
    return _estimate(choices, str, lambda v: metre_fit(v, wish) >= HEARD)


def _duration(wish: Duration, track: Measured) -> _Told:
    return f"{track.duration_s:.0f} s", 1.0, ()


def _presence(wish: Presence, track: Measured) -> _Told:
    name = next((wider for wider in lineage(wish.concept) if not math.isnan(track.confidence(wider))), None)
    if name is None:
        return "cannot be measured; compared by sound", 0.0, ()
    confidence, heard_at = track.confidence(name), spans_of([track.timeline], lambda text: text == name)
    rows, duration_s_N = heard_at.rows_S3.tolist(), np.array([track.duration_s])
    spans = tuple(Span(start_s=round(a, 3), end_s=round(b, 3), confidence=round(c, 4)) for a, b, c in rows)
    if wish.place is not None:
        low, high = place_s(wish.place, track.duration_s)
        if low >= high:
            return f"the track ends at {track.duration_s:.0f} s", 1.0, ()
        confidence = float(presence_at(heard_at, wish.place, duration_s_N)[0])
        spans = tuple(s for s in spans if s.end_s > low and s.start_s < high)
    named = "" if name == wish.concept else f"{concept(name).title}: "
    heard = confidence >= HEARD
    told = f"{named}{'heard' if heard else NONE_FOUND if confidence < 0.35 else 'perhaps'}"
    if wish.solo and heard:
        others = spans_of([track.timeline], lambda text: is_other_source(text, name))
        told += f", alone in {100 * float(alone(others, duration_s_N)[0]):.0f} % of the track"
    return told, confidence if confidence >= 0.35 else 1 - confidence, spans if confidence >= 0.35 else ()


def _chords(wish: Chords, track: Measured) -> _Told:
    if not len(track.timeline.chords):
        return "could not be measured", 0.0, ()
    chords = progressions([track.timeline])
    found = match(chords, wish)
    p, shift = float(found.p_N[0]), int(found.shift_N[0])
    if p < 0.25:
        return NONE_FOUND, 1 - p, ()
    spans, heard = places(chords, found, len(wish.chords))
    moved = f", {shift if shift <= 6 else shift - 12:+d} semitones" if shift else ""
    return f"{'-'.join(heard)}{moved}, {100 * float(found.coverage_N[0]):.0f} % of the track", p, spans


def _dynamics(wish: Dynamics, track: Measured) -> _Told:
    energy, duration_s = track.timeline.energy, track.duration_s
    p = float(dynamics_fit(energy[None], np.array([duration_s]), wish)[0]) if len(energy) else np.nan
    if np.isnan(p):
        return "too short to tell", 0.0, ()
    low, high = place_s(wish.place or Place(start=0, end=1), duration_s)
    hop_s = track.timeline.energy_hop_s
    part = energy[min(int(low / hop_s), len(energy) - 1) :][: max(1, round((high - low) / hop_s))]
    told = f"energy {part[0]:.2f} to {part[-1]:.2f}, mean {part.mean():.2f} (track {energy.mean():.2f})"
    return told, max(p, 1 - p), (Span(start_s=low, end_s=high, confidence=p),) if wish.place and high > low else ()


_KINDS: tuple[tuple[type[Constraint], Callable[..., _Told]], ...] = (
    (Tempo, _tempo), (InKey, _key), (Metre, _metre), (Duration, _duration),
    (Presence, _presence), (Chords, _chords), (Dynamics, _dynamics),
)  # fmt: skip
