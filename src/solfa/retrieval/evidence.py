"""What a hit has to show for each constraint: asked, measured, how sure, where, and a verdict.

A verdict follows from the value that is shown beside it and from nothing else: met, not met, or undecided. It is
undecided where the measurement is, where only another reading of it would fit (half or double tempo, an alternative,
another way to write the metre), and where only a broader concept was measured; the reading is then named.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from solfa.collection import Attributes, Timeline
from solfa.core.query import Chords, Constraint, Duration, Dynamics, InKey, Metre, Place, Presence, Tempo
from solfa.core.text import clock
from solfa.core.types import Span
from solfa.core.vocabulary import concept, is_other_source, lineage
from solfa.query.explain import describe as asked_words
from solfa.query.explain import label
from solfa.retrieval.measures import key_of, progressions, spans_of
from solfa.retrieval.progression import match, places
from solfa.retrieval.satisfaction import key_fit, metre_fit
from solfa.retrieval.shape import alone, dynamics_fit, place_s, presence_at
from solfa.retrieval.types import Evidence

PRESENT, ABSENT = 0.5, 0.35  # confidences from which on a concept counts as there, and below which as not there
NONE_FOUND, NOT_MEASURED = "none found", "could not be measured"
MAY_BE = "may be present"
_SHOWN = 0.1  # confidence from which on an alternative is worth a word
_NEAR_BPM = 0.025  # log2: 2 % beside a bound is near enough to be undecided, and met where one number was asked
_FELT_BPM = 45.0, 190.0  # half and double tempo are another way to count only where people count so
_CHANGE = 0.1  # of the energy (0..1): less is no change that a listener could be sure of


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
        """How sure it is that a concept is there; NaN where it was not looked for."""
        return round(float(self.table.confidence(name)[self.row]), 4)


def describe(constraint: Constraint, track: Measured) -> Evidence:
    """Evidence of one track for one constraint, its negation included in the verdict."""
    told = next(tell for kind, tell in _KINDS if isinstance(constraint, kind))(constraint, track)
    met = told.met
    if told.confidence < PRESENT:
        met = None
    elif met is not None and constraint.negated:
        met = not met
    return Evidence(constraint=label(constraint), asked=asked_words(constraint), measured=told.measured,
                    confidence=float(told.confidence), satisfied=met, spans=told.spans)  # fmt: skip


def presence_words(confidence: float) -> str:
    """What is said of a concept whose presence has this confidence, here and in ``solfa analyze``."""
    return "present" if confidence >= PRESENT else MAY_BE if confidence >= ABSENT else NONE_FOUND


class _Told(NamedTuple):
    """What was measured, how surely, whether that is what was asked (before any negation), and where."""

    measured: str
    confidence: float
    met: bool | None
    spans: tuple[Span, ...] = ()


_NOTHING = _Told(NOT_MEASURED, 0.0, None)


def _estimate(
    choices: list[tuple[Any, float]],
    show: Callable[[Any], str],
    fits: Callable[[Any], bool],
    otherwise: Callable[[Any], str] = lambda value: "",
) -> _Told:
    """The verdict on a value; ``otherwise`` names another reading of it that fits, which leaves it undecided."""
    if not choices:
        return _NOTHING
    (value, confidence), *others = choices
    if fits(value):
        return _Told(show(value), confidence, True)
    reading = otherwise(value)
    if not reading:
        second = next(((v, c) for v, c in others if c >= _SHOWN and fits(v)), None)
        reading = "" if second is None else f"or {show(second[0])} ({second[1]:.2f})"
    return _Told(f"{show(value)}, {reading}" if reading else show(value), confidence, None if reading else False)


def _tempo(asked: Tempo, track: Measured) -> _Told:
    choices = [(round(v, 1), c) for v, c in track.choices("tempo_bpm") if not math.isnan(v)]
    is_point = asked.low_bpm == asked.high_bpm

    def beyond(bpm: float) -> float:
        """How far outside the range, in octaves."""
        return max(0.0, math.log2(max(asked.low_bpm, 1.0) / bpm), math.log2(bpm / asked.high_bpm))

    def otherwise(bpm: float) -> str:
        if beyond(bpm) <= _NEAR_BPM:
            return "just outside"
        octaves = (("in double time", 2.0), ("in half time", 0.5))
        slowest, fastest = _FELT_BPM
        fitting = ((bpm * by, name) for name, by in octaves if slowest <= bpm * by <= fastest)
        return next((f"{value:.1f} {name}" for value, name in fitting if beyond(value) == 0), "")

    return _estimate(
        choices, lambda v: f"{v:.1f} BPM", lambda v: beyond(v) <= (_NEAR_BPM if is_point else 0.0), otherwise
    )


def _key(asked: InKey, track: Measured) -> _Told:
    choices = [(key_of(v), c) for v, c in track.choices("key") if v >= 0]
    return _estimate(choices, str, lambda v: key_fit(v, asked) == 1.0)


def _metre(asked: Metre, track: Measured) -> _Told:
    choices = [(f"{beats}/{unit}", c) for (beats, unit), c in track.choices("metre") if unit]
    return _estimate(
        choices, str, lambda v: v in asked.metres, lambda v: "another way to write it" if metre_fit(v, asked) else ""
    )


def _duration(asked: Duration, track: Measured) -> _Told:
    seconds = round(track.duration_s)
    return _Told(clock(seconds), 1.0, round(asked.low_s) <= seconds <= round(asked.high_s))


def _presence(asked: Presence, track: Measured) -> _Told:
    name = next((wider for wider in lineage(asked.concept) if not math.isnan(track.confidence(wider))), None)
    if name is None:
        return _Told("cannot be measured; compared by sound", 0.0, None)
    confidence, found = track.confidence(name), spans_of([track.timeline], lambda text: text == name)
    rows, duration_s_N = found.rows_S3.tolist(), np.array([track.duration_s])
    spans = tuple(Span(start_s=round(a, 3), end_s=round(b, 3), confidence=round(c, 4)) for a, b, c in rows)
    if asked.place is not None:
        low, high = place_s(asked.place, track.duration_s)
        if low >= high:
            return _Told(f"the track ends at {clock(track.duration_s)}", 1.0, False)
        confidence = float(presence_at(found, asked.place, duration_s_N)[0])
        spans = tuple(s for s in spans if s.end_s > low and s.start_s < high)
    if confidence < ABSENT:
        return _Told(NONE_FOUND if name == asked.concept else f"no {concept(name).title} found", 1 - confidence, False)
    met: bool | None = True if confidence >= PRESENT else None
    said = presence_words(confidence)
    if name != asked.concept:  # a Rhodes is asked for, an electric piano is what can be told
        met, said = None, f"{concept(name).title} {said}; its kind cannot be told"
    if asked.solo and met:
        others = spans_of([track.timeline], lambda text: is_other_source(text, name))
        share = float(alone(others, duration_s_N)[0])
        said, met = f"{said}, alone in {100 * share:.0f} % of the track", share >= PRESENT
    return _Told(said, confidence, met, spans)


def _chords(asked: Chords, track: Measured) -> _Told:
    if not len(track.timeline.chords):
        return _NOTHING
    chords = progressions([track.timeline])
    found = match(chords, asked)
    p, shift = float(found.p_N[0]), int(found.shift_N[0])
    if p < 0.25:
        return _Told(NONE_FOUND, 1 - p, False)
    spans, played = places(chords, found, len(asked.chords))
    moved = f", {shift if shift <= 6 else shift - 12:+d} semitones" if shift else ""
    told = f"{'-'.join(played)}{moved}, {100 * float(found.coverage_N[0]):.0f} % of the track"
    return _Told(told, p, True if p >= PRESENT else None, spans)


def _dynamics(asked: Dynamics, track: Measured) -> _Told:
    energy, duration_s = track.timeline.energy, track.duration_s
    p = float(dynamics_fit(energy[None], np.array([duration_s]), asked)[0]) if len(energy) else np.nan
    if np.isnan(p):
        return _Told("too short to tell", 0.0, None)
    low, high = place_s(asked.place or Place(start=0, end=1), duration_s)
    hop_s = track.timeline.energy_hop_s
    part = energy[min(int(low / hop_s), len(energy) - 1) :][: max(1, round((high - low) / hop_s))].astype(np.float64)
    if asked.shape in ("rises", "falls"):
        quarter = max(1, len(part) // 4)
        first, last = float(part[:quarter].mean()), float(part[-quarter:].mean())
        told = f"energy {first:.2f} in the first quarter, {last:.2f} in the last"
        margin = (last - first if asked.shape == "rises" else first - last) - _CHANGE
    elif asked.shape in ("quiet", "loud"):
        level = 0.5 if asked.place is None else float(energy.mean())
        told = f"energy {part.mean():.2f}" + (" of 1" if asked.place is None else f" there, {level:.2f} in the track")
        margin = float(part.mean()) - level if asked.shape == "loud" else level - float(part.mean())
    else:
        told = f"energy varies by {part.std():.2f} around {part.mean():.2f}"
        margin = float(part.std()) - 0.12 if asked.shape == "varies" else 0.12 - float(part.std())
    met = None if abs(margin) < 0.02 else margin > 0
    spans = (Span(start_s=low, end_s=high, confidence=p),) if asked.place and high > low else ()
    return _Told(told, max(p, 1 - p), met, spans)


_KINDS: tuple[tuple[type[Constraint], Callable[..., _Told]], ...] = (
    (Tempo, _tempo), (InKey, _key), (Metre, _metre), (Duration, _duration),
    (Presence, _presence), (Chords, _chords), (Dynamics, _dynamics),
)  # fmt: skip
