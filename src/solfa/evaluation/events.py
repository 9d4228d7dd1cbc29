"""Sound events in time: segment-based and collar-based F1 of decided events.

Conventions
-----------
An event has an onset, an offset (seconds, onset < offset) and a label. Times are compared after rounding to 1 us, as
``sed_scores_eval`` does, so that an event on the border of a collar does not hang on the last bit. Both F1 raise
InputError where `check_truth` does, or if the resolution is not positive.
Source: Mesaros, Heittola and Virtanen, *Metrics for polyphonic sound event detection*, Applied Sciences 6 (2016) 162.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from solfa.core.errors import InputError
from solfa.core.intervals import Event
from solfa.datasets.readers import DataSet
from solfa.evaluation.relevance import Bools, Floats

TIME_DECIMALS = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipTruth:
    """The events in one clip of ``duration_s`` seconds; no events if nothing is."""

    duration_s: float
    events: tuple[Event, ...] = ()

    def of_label(self, label: str) -> Floats:
        """Onsets and offsets of one label [shape=(E, 2)], in order of onset."""
        spans = _spans(self.events, label)
        return np.round(spans[np.lexsort(spans.T[::-1])], TIME_DECIMALS)


def _spans(events: Iterable[Event], label: str) -> Floats:
    return np.array([(e.onset_s, e.offset_s) for e in events if e.label == label], np.float64).reshape(-1, 2)


Truth = Mapping[str, ClipTruth]


def truth_of(data: DataSet) -> dict[str, ClipTruth]:
    """The sound events of a data set, by clip. Raises InputError if the duration of a clip is not known."""
    out = {}
    for clip in data.clips:
        if not clip.duration_s:
            raise InputError(f"{data.source.title}: the duration of clip {clip.id!r} is not known.")
        events = tuple(Event(start_s, end_s, p.text) for p in clip.phrases for start_s, end_s in p.spans_s)
        out[clip.id] = ClipTruth(duration_s=clip.duration_s, events=events)
    return out


class Counts(NamedTuple):
    """True positives, false positives and false negatives."""

    tp: int
    fp: int
    fn: int

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN)."""
        return 2 * self.tp / max(2 * self.tp + self.fp + self.fn, 1)


def total(counts: Iterable[Counts]) -> Counts:
    """The sum of counts."""
    return Counts(*map(sum, zip(*counts, strict=True)))


@dataclass(frozen=True, kw_only=True, slots=True)
class EventScores:
    """F1 of every class, their mean (``macro_f1``), and over all events at once (``micro``)."""

    classes: dict[str, Counts]

    @property
    def macro_f1(self) -> float:
        """Mean of the classes' F1."""
        return float(np.mean([c.f1 for c in self.classes.values()]))

    @property
    def micro(self) -> Counts:
        """Counts of all classes together."""
        return total(self.classes.values())


def check_truth(truth: Truth, clips: Iterable[str], classes: Sequence[str]) -> None:
    """Nothing, if truth and system speak of the same clips and every class occurs.

    Raises
    ------
    InputError
        If clips differ, there are none, a duration is not positive, a class has no event, or two events of one class
        overlap in a clip.
    """
    known, given = set(truth), set(clips)
    if known != given or not known:
        some = sorted(known ^ given)[:3]
        raise InputError(
            f"the pool does not match: truth has {len(known)} clips, the system {len(given)}, and they differ in "
            f"{len(known ^ given)} (such as {', '.join(some) or 'none'}). A clip without events needs an empty list."
        )
    for name, clip in truth.items():
        if not clip.duration_s > 0:
            raise InputError(f"clip {name!r} has the duration {clip.duration_s} s; it must be positive.")
        for label in {e.label for e in clip.events}:
            spans = clip.of_label(label)
            if (spans[1:, 0] < spans[:-1, 1]).any():
                raise InputError(f"clip {name!r}: two events {label!r} overlap. Merge them; it is one sound.")
    silent = set(classes) - {e.label for clip in truth.values() for e in clip.events}
    if silent or not classes:
        raise InputError(
            f"no true event for {len(silent)} of {len(classes)} classes ({', '.join(sorted(silent)[:5])}). A class "
            f"that never occurs has no score; leave it out."
        )


def collar_hits(found: Floats, true: Floats, *, collar_s: float, offset_rate: float) -> Bools:
    """Which detections lie within the collars of which true events [shape=(D, E)].

    The onset may be off by ``collar_s``, the offset by the larger of ``collar_s`` and ``offset_rate`` of the length.
    """
    onset = np.round(np.abs(found[:, None, 0] - true[None, :, 0]) - collar_s, TIME_DECIMALS) <= 0
    slack = np.maximum(collar_s, offset_rate * (true[:, 1] - true[:, 0]))
    offset = np.round(np.abs(found[:, None, 1] - true[None, :, 1]) - slack, TIME_DECIMALS) <= 0
    return onset & offset


def num_matched(hits: Bools) -> int:
    """The largest number of pairs of detection and true event with each used once.

    >>> num_matched(np.array([[True, True], [True, False]]))
    2
    """
    if not hits.any():
        return 0
    if (hits.sum(axis=0) <= 1).all() and (hits.sum(axis=1) <= 1).all():
        return int(hits.sum())
    return int((maximum_bipartite_matching(csr_array(hits), perm_type="column") >= 0).sum())


# Counts of the detections of one label in a clip [shape=(D, 2)], its true events [shape=(E, 2)] and its duration.
Matcher = Callable[[Floats, Floats, float], Counts]


def event_f1(truth: Truth, found: Mapping[str, Sequence[Event]], classes: Sequence[str], match: Matcher) -> EventScores:
    """F1 of the events that a system decided on, by `collar_counts` or `segment_counts`."""
    check_truth(truth, found, classes)
    return EventScores(classes={c: total(match_clip(truth[n], found[n], c, match) for n in truth) for c in classes})


def match_clip(truth: ClipTruth, found: Iterable[Event], label: str, match: Matcher) -> Counts:
    """Counts of one label in one clip."""
    return match(_spans(found, label), truth.of_label(label), truth.duration_s)


def collar_counts(
    found: Floats, true: Floats, duration_s: float = 0.0, *, collar_s: float = 0.2, offset_rate: float = 0.2
) -> Counts:
    """Collar-based (event-based): detections count if close enough to a true event, one to one.

    Onsets and offsets may be off by ``collar_s`` seconds, offsets also by ``offset_rate`` of the true event's length.
    """
    tp = num_matched(collar_hits(found, true, collar_s=collar_s, offset_rate=offset_rate))
    return Counts(tp, len(found) - tp, len(true) - tp)


def segment_edges(duration_s: float, resolution_s: float) -> Floats:
    """Where segments of a resolution begin and end, the last at or after the end [shape=(S + 1,)]."""
    if not resolution_s > 0:
        raise InputError(f"the resolution must be positive, got {resolution_s} s.")
    num = int(np.ceil(np.round(duration_s / resolution_s, TIME_DECIMALS)))
    return np.round(np.arange(num + 1) * resolution_s, TIME_DECIMALS)


def active_segments(spans: Floats, duration_s: float, resolution_s: float) -> Bools:
    """Which segments of ``resolution_s`` are touched by a span [shape=(ceil(duration / resolution),)].

    >>> active_segments(np.array([[0.9, 1.1]]), duration_s=3.0, resolution_s=1.0).tolist()
    [True, True, False]
    """
    edges = segment_edges(duration_s, resolution_s)
    touched = (edges[:-1, None] < spans[None, :, 1]) & (edges[1:, None] > spans[None, :, 0])
    return np.asarray(touched.any(axis=1))


def segment_counts(found: Floats, true: Floats, duration_s: float, *, resolution_s: float = 1.0) -> Counts:
    """Segment-based: every segment of ``resolution_s`` is right or wrong."""
    got, asked = (active_segments(spans, duration_s, resolution_s) for spans in (found, true))
    return Counts(int((asked & got).sum()), int((got & ~asked).sum()), int((asked & ~got).sum()))
