"""Tempo, key, metre, chords and beats against annotations, through ``mir_eval``.

tempo_acc1, tempo_acc2  within 4 % of the reference; or of 2, 3, 1/2 or 1/3 times it (Gouyon et al. 2006)
tempo_p                 ``mir_eval.tempo`` P-score: within 8 %, of one reference tempo
key_weighted            1 for the key, 0.5 a fifth up, 0.3 the relative, 0.2 the parallel (MIREX)
chord_root, chord_majmin, chord_sevenths, chord_overlap
                        share of the time in which the chord is right in its root, as major/minor, with its seventh; or
                        shares three notes with the reference (``mirex``). Weighted over tracks by duration (WCSR);
                        reference chords outside a vocabulary do not count in it
chord_segmentation      the smaller of 1 - over- and 1 - under-segmentation (``seg``)
beats_f, downbeats_f    F-measure within 70 ms; the first 5 s are left out, as in MIREX
metre_acc               the time signature is the reference's

A track whose reference lacks a field does not count for it; one whose estimate lacks it counts as wrong. InputError is
raised where no reference allows a score, numbers of tracks differ, chords overlap or a label is not in Harte syntax.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from solfa.core.annotation import MusicAnnotation
from solfa.core.errors import InputError, need
from solfa.core.types import ChordSegment
from solfa.evaluation.ranking import Floats
from solfa.evaluation.significance import Interval, interval

TEMPO_TOLERANCE = 0.04
MULTIPLES = (1.0, 2.0, 3.0, 1 / 2, 1 / 3)
BEAT_TRIM_S = 5.0


def _mir_eval() -> Any:
    return need("mir_eval", "scoring keys, chords and beats", "pip install 'solfa[eval]'")


def tempo_accuracy(reference_bpm: float, estimate_bpm: float | None, *, octaves: bool) -> float:
    """1 if the tempo is right within 4 %, else 0; with ``octaves`` doubles, triples, halves and thirds are right too.

    >>> tempo_accuracy(120.0, 124.8, octaves=False), tempo_accuracy(120.0, 60.0, octaves=True)
    (1.0, 1.0)
    """
    if estimate_bpm is None:
        return 0.0
    factors = MULTIPLES if octaves else (1.0,)
    # The last bit of a product must not decide about the border itself.
    return float(
        any(abs(estimate_bpm - f * reference_bpm) <= (TEMPO_TOLERANCE + 1e-12) * f * reference_bpm for f in factors)
    )


def tempo_p_score(reference_bpm: float, estimate_bpm: float | None) -> float:
    """``mir_eval.tempo`` P-score of one tempo against one: 1 within 8 %, else 0."""
    if estimate_bpm is None:
        return 0.0
    reference, estimate = np.array([0.0, reference_bpm]), np.array([0.0, estimate_bpm])
    return float(_mir_eval().tempo.detection(reference, 0.0, estimate)[0])


def key_weighted(reference: str, estimate: str | None) -> float:
    """MIREX weighted score of a key such as ``F# minor``; 0 for none."""
    return 0.0 if estimate is None else float(_mir_eval().key.weighted_score(reference, estimate))


def beat_f(reference_s: Sequence[float], estimate_s: Sequence[float]) -> float:
    """F-measure of beats within 70 ms, from 5 s on."""
    beat = _mir_eval().beat
    reference, estimate = (
        beat.trim_beats(np.array(sorted(b), np.float64), BEAT_TRIM_S) for b in (reference_s, estimate_s)
    )
    if len(reference) == 0:
        raise InputError(f"the reference has no beat after {BEAT_TRIM_S} s; such a track cannot be scored.")
    return float(beat.f_measure(reference, estimate)) if len(estimate) else 0.0


class TrackScore(NamedTuple):
    """A score of one track and what it weighs among tracks (1, or the seconds it was taken over)."""

    value: float
    weight: float = 1.0


def chord_scores(reference: Sequence[ChordSegment], estimate: Sequence[ChordSegment]) -> dict[str, TrackScore]:
    """The chord scores of one track, weighted by the seconds whose reference chord a vocabulary can compare.

    A score without a comparable second is left out. An estimate without chords scores 0. Both are in order of time.
    """
    if not reference:
        raise InputError("the reference has no chords; such a track cannot be scored.")
    module = _mir_eval()
    chord, util = module.chord, module.util
    start, end = reference[0].start_s, reference[-1].end_s
    ref_spans, ref_labels = _contiguous(reference, "reference", start, end)
    est_spans, est_labels = _contiguous(estimate, "estimate", start, end)
    spans, ref_all, est_all = util.merge_labeled_intervals(ref_spans, ref_labels, est_spans, est_labels)
    seconds = util.intervals_to_durations(spans)
    scores = {}
    try:
        for name, compare in (("root", "root"), ("majmin", "majmin"), ("sevenths", "sevenths"), ("overlap", "mirex")):
            right = getattr(chord, compare)(ref_all, est_all)
            able = right >= 0
            if able.any():
                total = float(seconds[able].sum())
                scores[f"chord_{name}"] = TrackScore(float((right * seconds)[able].sum() / total), total)
        merged = (chord.merge_chord_intervals(s, n) for s, n in ((ref_spans, ref_labels), (est_spans, est_labels)))
        scores["chord_segmentation"] = TrackScore(float(chord.seg(*merged)), float(end - start))
    except chord.InvalidChordException as bad:
        raise InputError(f"a chord label is not in Harte syntax: {bad}") from bad
    return scores if estimate else {name: TrackScore(0.0, score.weight) for name, score in scores.items()}


def _contiguous(segments: Sequence[ChordSegment], what: str, start_s: float, end_s: float) -> tuple[Floats, list[str]]:
    # The chords from start to end without gaps, as mir_eval wants them: where there is no chord there is N.
    borders, labels = [start_s], []
    previous = -np.inf
    for c in segments:
        if c.end_s <= c.start_s or c.start_s < previous - 1e-6:
            raise InputError(f"{what} chords must be in order, longer than 0 s and without overlap.")
        previous = c.end_s
        if c.end_s <= borders[-1] or c.start_s >= end_s:
            continue
        if c.start_s > borders[-1] + 1e-6:
            borders.append(c.start_s)
            labels.append("N")
        borders.append(min(c.end_s, end_s))
        labels.append(c.label)
    if borders[-1] < end_s:
        borders.append(end_s)
        labels.append("N")
    return np.stack([borders[:-1], borders[1:]], axis=1), labels


_FIELDS: dict[str, Callable[[MusicAnnotation, MusicAnnotation], float | None]] = {
    "tempo_acc1": lambda r, e: None if r.tempo_bpm is None else tempo_accuracy(r.tempo_bpm, e.tempo_bpm, octaves=False),
    "tempo_acc2": lambda r, e: None if r.tempo_bpm is None else tempo_accuracy(r.tempo_bpm, e.tempo_bpm, octaves=True),
    "tempo_p": lambda r, e: None if r.tempo_bpm is None else tempo_p_score(r.tempo_bpm, e.tempo_bpm),
    "key_weighted": lambda r, e: None if r.key is None else key_weighted(str(r.key), str(e.key) if e.key else None),
    "metre_acc": lambda r, e: None if r.metre is None else float(r.metre == e.metre),
    "beats_f": lambda r, e: _beats(r.beats_s, e.beats_s),
    "downbeats_f": lambda r, e: _beats(r.downbeats_s, e.downbeats_s),
}


def _beats(reference_s: Sequence[float], estimate_s: Sequence[float]) -> float | None:
    return beat_f(reference_s, estimate_s) if any(b >= BEAT_TRIM_S for b in reference_s) else None


def track_scores(reference: MusicAnnotation, estimate: MusicAnnotation) -> dict[str, TrackScore]:
    """Every score that the reference of one track allows, by name."""
    plain = {name: score(reference, estimate) for name, score in _FIELDS.items()}
    scores = {name: TrackScore(value) for name, value in plain.items() if value is not None}
    return scores | (chord_scores(reference.chords, estimate.chords) if reference.chords else {})


def scores(references: Sequence[MusicAnnotation], estimates: Sequence[MusicAnnotation]) -> dict[str, list[TrackScore]]:
    """Every score, by name, of the tracks whose reference allows it; absent where none does."""
    if len(references) != len(estimates):
        raise InputError(f"the pool does not match: {len(references)} references, {len(estimates)} estimates.")
    found: dict[str, list[TrackScore]] = {}
    for reference, estimate in zip(references, estimates, strict=True):
        for name, score in track_scores(reference, estimate).items():
            found.setdefault(name, []).append(score)
    if not found:
        raise InputError("no reference holds a tempo, key, metre, chord or beat; there is nothing to score.")
    return found


def intervals(found: Mapping[str, Sequence[TrackScore]], *, seed: int = 0) -> dict[str, Interval]:
    """The mean of every score over its tracks, weighted, with interval."""
    return {
        name: interval([s.value for s in own], weights=[s.weight for s in own], seed=seed)
        for name, own in found.items()
    }


def evaluate(
    references: Sequence[MusicAnnotation], estimates: Sequence[MusicAnnotation], *, seed: int = 0
) -> dict[str, Interval]:
    """`intervals` of `scores`."""
    return intervals(scores(references, estimates), seed=seed)
