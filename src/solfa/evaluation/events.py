"""Sound events in time: F1 of decided events, and detections from frame scores at one threshold or at all of them.

Conventions
-----------
An event has an onset, an offset (seconds, onset < offset) and a label. Times are compared after rounding to 1 us, as
``sed_scores_eval`` does, so that an event on the border of a collar does not hang on the last bit. A clip's scores are
[shape=(T, C)], frame ``t`` lasting from ``boundaries_s[t]`` to ``boundaries_s[t + 1]``. A frame is active where its
score is at least the threshold; neighbouring active frames are one detection. Every detection that any threshold can
give is a *run*: a stretch whose frames all score at least its ``born`` level and whose neighbours score at most its
``dies`` level. It is there for thresholds in (dies, born]. A signal of T frames has at most T runs, so all thresholds
together cost little more than one. InputError is raised where `check_truth` does, if the resolution is not positive,
and for scores and thresholds that do not fit their frames, clips and classes.
Sources: Mesaros, Heittola and Virtanen, *Metrics for polyphonic sound event detection*, Applied Sciences 6 (2016) 162;
Ebbers, Haeb-Umbach and Serizel, ICASSP 2022 (all thresholds).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.ndimage import median_filter
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from solfa.core.errors import InputError
from solfa.core.intervals import Segment
from solfa.datasets.readers import DataSet
from solfa.evaluation.ranking import Bools, Floats, Ints

TIME_DECIMALS = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipTruth:
    """The events in one clip of ``duration_s`` seconds; no events if nothing is."""

    duration_s: float
    events: tuple[Segment, ...] = ()

    def of_label(self, label: str) -> Floats:
        """Onsets and offsets of one label [shape=(E, 2)], in order of onset."""
        spans = _spans(self.events, label)
        return np.round(spans[np.lexsort(spans.T[::-1])], TIME_DECIMALS)


def _spans(events: Iterable[Segment], label: str) -> Floats:
    return np.array([(e.start_s, e.end_s) for e in events if e.label == label], np.float64).reshape(-1, 2)


Truth = Mapping[str, ClipTruth]


def truth_of(data: DataSet) -> dict[str, ClipTruth]:
    """The sound events of a data set, by clip. Raises InputError if the duration of a clip is not known."""
    out = {}
    for clip in data.clips:
        if not clip.duration_s:
            raise InputError(f"{data.source.title}: the duration of clip {clip.id!r} is not known.")
        events = tuple(Segment(start_s, end_s, p.text) for p in clip.phrases for start_s, end_s in p.spans_s)
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


@dataclass(frozen=True, kw_only=True, slots=True)
class EventScores:
    """F1 of every class, and their mean."""

    classes: dict[str, Counts]

    @property
    def macro_f1(self) -> float:
        """Mean of the classes' F1."""
        return float(np.mean([c.f1 for c in self.classes.values()]))


def check_truth(truth: Truth, clips: Iterable[str], classes: Sequence[str]) -> None:
    """Check that truth and system have the same clips and every class occurs.

    Raises InputError if clips differ, there are none, a duration is not positive, a class has no event, or two events
    of one class overlap in a clip.
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
    """Which detections are within the collars of which true events [shape=(D, E)].

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


def event_f1(
    truth: Truth, found: Mapping[str, Sequence[Segment]], classes: Sequence[str], match: Matcher
) -> EventScores:
    """F1 of the events that a system decided on, by `collar_counts` or `segment_counts`."""
    check_truth(truth, found, classes)
    counts = {c: [match_clip(truth[name], found[name], c, match) for name in truth] for c in classes}
    return EventScores(classes={c: Counts(*map(sum, zip(*own, strict=True))) for c, own in counts.items()})


def match_clip(truth: ClipTruth, found: Iterable[Segment], label: str, match: Matcher) -> Counts:
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


@dataclass(frozen=True, eq=False, slots=True)
class ClipScores:
    """Scores of one clip: float64 [shape=(T, C)] and frame borders in seconds [shape=(T + 1,)], ascending."""

    values_TC: Floats
    boundaries_s: Floats

    def __post_init__(self) -> None:
        values, borders = np.asarray(self.values_TC, np.float64), np.asarray(self.boundaries_s, np.float64)
        if values.ndim != 2 or borders.shape != (len(values) + 1,) or len(values) == 0:
            raise InputError(f"scores {values.shape} need {len(values) + 1} frame borders, got {borders.shape}.")
        if not (np.diff(borders) > 0).all():
            raise InputError("frame borders must ascend.")
        if not np.isfinite(values).all():
            raise InputError("a score is not finite.")
        object.__setattr__(self, "values_TC", values)
        object.__setattr__(self, "boundaries_s", np.round(borders, TIME_DECIMALS))

    def smoothed(self, num_frames: int) -> "ClipScores":
        """The scores after a median filter over ``num_frames`` frames (FineLAP: 3)."""
        return ClipScores(median_filter(self.values_TC, size=(num_frames, 1)), self.boundaries_s)


@dataclass(frozen=True, eq=False, slots=True)
class SystemScores:
    """What a system says about every clip; columns are ``classes``."""

    classes: tuple[str, ...]
    clips: Mapping[str, ClipScores]

    def __post_init__(self) -> None:
        if not self.clips or not self.classes or len(set(self.classes)) != len(self.classes):
            raise InputError("system scores need at least one clip and one class, and no class twice.")
        for name, clip in self.clips.items():
            if clip.values_TC.shape[1] != len(self.classes):
                raise InputError(f"clip {name!r}: {clip.values_TC.shape[1]} columns for {len(self.classes)} classes.")


@dataclass(frozen=True, eq=False, slots=True)
class Runs:
    """All detections of one class at all thresholds, clip after clip.

    ``clip`` is the number of the clip [shape=(M,)]; ``start_s``, ``end_s``, ``born``, ``dies`` are float64 of that
    shape; ``first_of_clip`` [shape=(num clips + 1,)] delimits them.
    """

    clip: Ints
    start_s: Floats
    end_s: Floats
    born: Floats
    dies: Floats
    first_of_clip: Ints


def runs_of(scores: SystemScores, column: int) -> Runs:
    """Every run of one class."""
    clips = list(scores.clips.values())
    gap = np.array([-np.inf])
    x = np.concatenate([gap, *(a for c in clips for a in (c.values_TC[:, column], gap))])
    lengths = np.array([len(c.values_TC) for c in clips])
    # Border times follow the scores: frame i of x starts at borders[i - 1 + clip] of the concatenation.
    borders = np.concatenate([c.boundaries_s for c in clips])
    clip_of = np.repeat(np.arange(len(clips)), lengths)
    frames = np.arange(len(clip_of)) + 1 + clip_of  # positions of real frames in x
    left, right = _nearest_lower(x, frames, -1), _nearest_lower(x, frames, 1)
    _, keep = np.unique(left * len(x) + right, return_index=True)
    left, right, own = left[keep], right[keep], frames[keep]
    first = np.searchsorted(clip_of[keep], np.arange(len(clips) + 1))
    return Runs(
        clip=clip_of[keep],
        start_s=borders[left],
        end_s=borders[right - 1],
        born=x[own],
        dies=np.maximum(x[left], x[right]),
        first_of_clip=first,
    )


def _nearest_lower(x: Floats, frames: Ints, step: int) -> Ints:
    # The nearest position on one side with a lower score, by pointer jumping: all between a frame and its pointer
    # score at least as high, so a pointer that lands too high may take over that position's own pointer.
    pointer = np.arange(len(x)) + step
    active = frames
    while len(active):
        active = active[x[pointer[active]] >= x[active]]
        pointer[active] = pointer[pointer[active]]
    return np.asarray(pointer[frames])


def decide(scores: SystemScores, thresholds: Mapping[str, float]) -> dict[str, list[Segment]]:
    """The events that a system reports at one threshold per class."""
    missing = set(scores.classes) - set(thresholds)
    if missing:
        raise InputError(f"no threshold for class {sorted(missing)[0]!r}.")
    return {
        name: [
            Segment(start, end, label)
            for c, label in enumerate(scores.classes)
            for start, end in clip.boundaries_s[stretches_of(clip.values_TC[:, c] >= thresholds[label])].tolist()
        ]
        for name, clip in scores.clips.items()
    }


def stretches_of(active: Bools) -> Ints:
    """First and last+1 frame of every stretch of active frames [shape=(S, 2)].

    >>> stretches_of(np.array([True, True, False, True])).tolist()
    [[0, 2], [3, 4]]
    """
    return np.flatnonzero(np.diff(active.astype(np.int8), prepend=0, append=0)).reshape(-1, 2)


Changes = tuple[Floats, Floats]  # score values, and by how much something changes as a threshold drops past each


def joined(changes: Sequence[Changes]) -> Changes:
    """Several lists of changes as one."""
    return np.concatenate([v for v, _ in changes]), np.concatenate([c for _, c in changes])


def accumulate(*changes: Changes) -> tuple[Floats, list[Floats]]:
    """Every score value of any list, from high to low, and what each list has summed up to by then."""
    levels, where = np.unique(-np.concatenate([v for v, _ in changes]), return_inverse=True)
    parts = np.split(where, np.cumsum([len(v) for v, _ in changes])[:-1])
    sums = [
        np.cumsum(np.bincount(w, c, len(levels)), dtype=np.float64) for w, (_, c) in zip(parts, changes, strict=True)
    ]
    return -levels, sums


def lifetimes(runs: Runs, chosen: Bools) -> Changes:
    """Changes of the number of chosen runs that are there."""
    ended = chosen & np.isfinite(runs.dies)
    values = np.concatenate([runs.born[chosen], runs.dies[ended]])
    return values, np.concatenate([np.ones(chosen.sum()), -np.ones(ended.sum())])


def best_collar_thresholds(
    truth: Truth, scores: SystemScores, *, collar_s: float = 0.2, offset_rate: float = 0.2
) -> dict[str, float]:
    """Each class's threshold of the best collar-based F1, exact over all. Tuned on the test set: an upper bound."""
    check_truth(truth, scores.clips, scores.classes)
    best = {}
    for c, label in enumerate(scores.classes):
        runs = runs_of(scores, c)
        matched = []
        for i, name in enumerate(scores.clips):
            own = slice(runs.first_of_clip[i], runs.first_of_clip[i + 1])
            matched.append(_match_changes(runs, own, truth[name].of_label(label), collar_s, offset_rate))
        found = lifetimes(runs, np.ones(len(runs.born), bool))
        best[label] = _best(found, joined(matched), sum(len(t.of_label(label)) for t in truth.values()))
    return best


def _match_changes(runs: Runs, own: slice, true: Floats, collar_s: float, offset_rate: float) -> Changes:
    # Matches of a clip change only where a run that hits something is born or dies.
    spans = np.stack([runs.start_s[own], runs.end_s[own]], axis=1)
    hits = collar_hits(spans, true, collar_s=collar_s, offset_rate=offset_rate)
    able = hits.any(axis=1)
    born, dies, hits = runs.born[own][able], runs.dies[own][able], hits[able]
    levels = np.unique(np.concatenate([born, dies[np.isfinite(dies)]]))[::-1]
    counts = [num_matched(hits[(dies < v) & (v <= born)]) for v in levels]
    return levels, np.diff(np.array([0, *counts], np.float64))


def best_segment_thresholds(truth: Truth, scores: SystemScores, *, resolution_s: float = 1.0) -> dict[str, float]:
    """The same for segment-based F1; a segment's score is the largest of the frames it touches."""
    check_truth(truth, scores.clips, scores.classes)
    segments = np.concatenate([_segment_maxima(c, truth[n].duration_s, resolution_s) for n, c in scores.clips.items()])
    best = {}
    for c, label in enumerate(scores.classes):
        true = np.concatenate(
            [active_segments(truth[n].of_label(label), truth[n].duration_s, resolution_s) for n in scores.clips]
        )
        seen = np.isfinite(segments[:, c])  # segments beyond the last frame are never detected
        found, matched = segments[seen, c], segments[seen & true, c]
        best[label] = _best((found, np.ones(len(found))), (matched, np.ones(len(matched))), int(true.sum()))
    return best


def _segment_maxima(clip: ClipScores, duration_s: float, resolution_s: float) -> Floats:
    edges = segment_edges(duration_s, resolution_s)
    first = np.maximum(np.searchsorted(clip.boundaries_s, edges[:-1], side="right") - 1, 0)
    last = np.minimum(np.searchsorted(clip.boundaries_s, edges[1:], side="left"), len(clip.values_TC))
    out = np.full((len(edges) - 1, clip.values_TC.shape[1]), -np.inf)
    for i in range(len(out)):
        if first[i] < last[i]:
            out[i] = clip.values_TC[first[i] : last[i]].max(axis=0)
    return out


def _best(found: Changes, matched: Changes, num_true: int) -> float:
    levels, (num_found, tp) = accumulate(found, matched)
    return float(levels[np.argmax(2 * tp / (num_found + num_true))])
