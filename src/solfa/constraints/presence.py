"""A concept of the vocabulary is present: an instrument, voice, genre, mood, use or everyday sound."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from solfa.constraints.base import (
    ABSENT,
    NONE_FOUND,
    SHAPE_BASE,
    Columns,
    Constraint,
    Counts,
    Doubles,
    Likelihood,
    Measured,
    Place,
    Timed,
    Tracks,
    Unbased,
    Verdict,
)
from solfa.core.filters import PRESENT
from solfa.core.text import clock
from solfa.core.types import FloatArray, Span
from solfa.core.vocabulary import concept, is_other_source, lineage

MAY_BE = "may be present"
_PRIOR = {"instrument": 0.2, "voice": 0.4, "genre": 0.1, "mood": 0.15, "use": 0.15, "sound": 0.05}
# P(the narrower thing | only the wider one was measured and is there): a Rhodes, given an electric piano.
_NARROWER = 0.6


@dataclass(frozen=True, kw_only=True, slots=True)
class Presence(Constraint):
    """A concept of the vocabulary is present (instrument, voice, genre, mood, use, sound), perhaps at a place.

    ``solo``: it plays alone or leads ("solo piano", "guitar solo").
    """

    topic: ClassVar[str] = "presence"

    concept: str
    kind: str
    place: Place | None = None
    solo: bool = False

    @property
    def label(self) -> str:
        """The kind of the concept."""
        return self.kind

    @property
    def needs_timeline(self) -> bool:
        """Whether a place or other sources matter."""
        return self.place is not None or self.solo

    def asked(self) -> str:
        """The concept's title, and where."""
        where = "" if self.place is None else self.place.words()
        return concept(self.concept).title + (" (alone or leading)" if self.solo else "") + where

    def words(self) -> str:
        """The same, and whether it is to be absent."""
        return f"no {self.asked()}" if self.negated else self.asked()

    def from_columns(self, tracks: Tracks) -> Unbased | None:
        """From the confidence of the concept, or of the nearest wider one that was measured.

        That it must not be at a place says nothing about the rest of the track.
        """
        columns = tracks.attributes()
        name = self._measured_as(columns.measured)
        if name is None or (self.negated and self.needs_timeline):
            return None
        return Unbased(self._confidence(columns, name), _PRIOR[concept(self.concept).kind])

    def from_timelines(self, columns: Columns, rows: NDArray[np.intp], timelines: Sequence[Timed]) -> Likelihood:
        """From where the concept is, and how long nothing else is present."""
        durations_s, p = columns.column("duration_s")[rows], np.full(len(rows), np.nan, np.float32)
        name = self._measured_as(columns.measured)
        if name is not None:
            p = self._confidence(columns, name)[rows]
            if self.place is not None:
                there = presence_at(spans_of(timelines, lambda text: text == name), self.place, durations_s)
                p = np.where(np.isnan(p), p, there)
            if self.solo:
                p = p * alone(spans_of(timelines, lambda text: is_other_source(text, name)), durations_s)
        return Likelihood.filled(p, SHAPE_BASE)

    def evidence(self, track: Measured) -> Verdict:
        """Undecided where only a broader concept was measured, which is then named."""
        name = self._measured_as(lambda wider: not math.isnan(track.confidence(wider)))
        if name is None:
            return Verdict("cannot be measured; compared by sound", 0.0, None)
        confidence, found = track.confidence(name), spans_of([track.timeline], lambda text: text == name)
        rows, duration_s_N = found.rows_S3.tolist(), np.array([track.duration_s])
        spans = tuple(Span(start_s=round(a, 3), end_s=round(b, 3), confidence=round(c, 4)) for a, b, c in rows)
        if self.place is not None:
            low, high = self.place.span_s(track.duration_s)
            if low >= high:
                return Verdict(f"the track ends at {clock(track.duration_s)}", 1.0, False)
            confidence = float(presence_at(found, self.place, duration_s_N)[0])
            spans = tuple(s for s in spans if s.end_s > low and s.start_s < high)
        if confidence < ABSENT:
            none = NONE_FOUND if name == self.concept else f"no {concept(name).title} found"
            return Verdict(none, 1 - confidence, False)
        met: bool | None = True if confidence >= PRESENT else None
        said = presence_words(confidence)
        if name != self.concept:  # a Rhodes is asked for, an electric piano is what can be detected
            met, said = None, f"{concept(name).title} {said}; its kind cannot be determined"
        if self.solo and met:
            others = spans_of([track.timeline], lambda text: is_other_source(text, name))
            share = float(alone(others, duration_s_N)[0])
            said, met = f"{said}, alone in {100 * share:.0f} % of the track", share >= PRESENT
        return Verdict(said, confidence, met, spans)

    def _measured_as(self, was_measured: Callable[[str], bool]) -> str | None:
        """The concept itself or the nearest wider one that was measured; None if none was."""
        return next((wider for wider in lineage(self.concept) if was_measured(wider)), None)

    def _confidence(self, columns: Columns, name: str) -> FloatArray:
        return columns.confidence(name) * np.float32(1.0 if name == self.concept else _NARROWER)


def presence_words(confidence: float) -> str:
    """What is said of a concept whose presence has this confidence, here and in ``solfa analyze``."""
    return "present" if confidence >= PRESENT else MAY_BE if confidence >= ABSENT else NONE_FOUND


@dataclass(frozen=True, eq=False, slots=True)
class Spans:
    """Where something is present in N tracks: start, end and confidence of S spans, and the track of each."""

    rows_S3: FloatArray
    track_S: Counts


def spans_of(timelines: Sequence[Timed], wanted: Callable[[str], bool]) -> Spans:
    """Where any of the concepts that are wanted is present in tracks."""
    track = np.repeat(np.arange(len(timelines)), [len(t.spans) for t in timelines])
    if not len(track):
        return Spans(np.zeros((0, 3), np.float32), track)
    spans = np.concatenate([t.spans for t in timelines])
    numbers, inverse = np.unique(spans["concept"], return_inverse=True)
    keep = np.array([wanted(timelines[0].names[number]) for number in numbers.tolist()], bool)[inverse]
    kept = spans[keep]
    return Spans(np.stack([kept["start_s"], kept["end_s"], kept["confidence"]], axis=1), track[keep])


def presence_at(spans: Spans, place: Place, duration_s_N: NDArray[np.floating]) -> FloatArray:
    """P(something does at the place what is asked: is there, enters, leaves, or is only there) [shape=(N,)]."""
    start, end = place.spans_s(duration_s_N)
    p = _within(spans, start, end)
    if place.event in ("enters", "only"):
        p = p * (1 - _within(spans, 0 * start, start - 1.0))
    if place.event in ("leaves", "only"):
        p = p * (1 - _within(spans, end + 1.0, duration_s_N.astype(np.float64)))
    return p.astype(np.float32)


def alone(others: Spans, duration_s_N: NDArray[np.floating]) -> FloatArray:
    """Share of each track in which nothing else is present: 1 for a solo [shape=(N,)]."""
    seconds_N = np.maximum(1, np.rint(duration_s_N)).astype(np.int64)
    ends_N = np.cumsum(seconds_N)
    begin, last = (ends_N - seconds_N)[others.track_S], ends_N[others.track_S]
    low = others.rows_S3[:, 0].astype(np.int64)
    high = np.minimum(begin + np.maximum(low + 1, np.rint(others.rows_S3[:, 1]).astype(np.int64)), last)
    grid = np.zeros(seconds_N.sum())
    for i in np.argsort(others.rows_S3[:, 2]).tolist():  # the surest last: it is kept
        grid[begin[i] + low[i] : high[i]] = others.rows_S3[i, 2]
    share = 1.0 - np.add.reduceat(grid, ends_N - seconds_N) / seconds_N if len(grid) else np.zeros(0)
    return np.where(duration_s_N <= 0, 1.0, share).astype(np.float32)


def _within(spans: Spans, start_s_N: Doubles, end_s_N: Doubles) -> Doubles:
    """Confidence that the thing is present in a range of each track; brushing its edge counts by the overlap."""
    start, end = start_s_N[spans.track_S], end_s_N[spans.track_S]
    overlap = np.minimum(spans.rows_S3[:, 1], end) - np.maximum(spans.rows_S3[:, 0], start)
    share = np.clip(overlap / np.clip(end - start, 1e-9, 2.0), 0.0, 1.0)
    best = np.zeros(len(start_s_N))
    np.maximum.at(best, spans.track_S, spans.rows_S3[:, 2] * share)
    return np.where(end_s_N > start_s_N, best, 0.0)
