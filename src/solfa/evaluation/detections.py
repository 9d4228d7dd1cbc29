"""From frame scores to detections, at one threshold or at all of them.

Conventions
-----------
A clip's scores are [shape=(T, C)], frame ``t`` lasting from ``boundaries_s[t]`` to ``boundaries_s[t + 1]``. A frame is
active where its score is at least the threshold; neighbouring active frames are one detection. Every detection that
any threshold can give is a *run*: a stretch whose frames all score at least its ``born`` level and whose neighbours
score at most its ``dies`` level. It is there for thresholds in (dies, born]. A signal of T frames has at most T runs,
so all thresholds together cost little more than one (Ebbers, Haeb-Umbach and Serizel, ICASSP 2022). InputError is
raised where `events.check_truth` does, if the resolution is not positive, and for scores and thresholds that do not fit
their frames, clips and classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import median_filter

from solfa.core.errors import InputError
from solfa.core.intervals import Event
from solfa.evaluation.events import (
    TIME_DECIMALS,
    Truth,
    active_segments,
    check_truth,
    collar_hits,
    num_matched,
    segment_edges,
)
from solfa.evaluation.relevance import Bools, Floats, Ints


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

    def smoothed(self, num_frames: int) -> ClipScores:
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
    # Border times lie beside the scores: frame i of x starts at borders[i - 1 + clip] of the concatenation.
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


def decide(scores: SystemScores, thresholds: Mapping[str, float]) -> dict[str, list[Event]]:
    """The events that a system reports at one threshold per class."""
    missing = set(scores.classes) - set(thresholds)
    if missing:
        raise InputError(f"no threshold for class {sorted(missing)[0]!r}.")
    return {
        name: [
            Event(start, end, label)
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


Changes = tuple[Floats, Floats]  # score values, and by how much something changes as a threshold falls past each


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
