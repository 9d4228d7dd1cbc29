"""Sections of a track, from what was measured of it: where the music changes.

Boundaries are peaks of the novelty of a self-similarity matrix (Foote, ICME 2000), computed over chord tones, energy,
voice and instruments at once.
"""

from string import ascii_uppercase

import numpy as np
from numpy.typing import NDArray

from solfa.analysis.filters import peaks, running_mean
from solfa.core.theory import QUALITIES, Chord
from solfa.core.types import Analysis, Span

Doubles = NDArray[np.float64]
# Tuned on half of McGill Billboard (benchmarks/sections.py).
_SMOOTH_S, _REACH_S, _LEAST_S = 4, 16, 8  # of chords; what is compared on each side; no section is shorter
_NEAR_S = 1.5  # a boundary is moved to a bar as near as this
_SALIENT = 0.15  # prominence of a boundary, of the range of the novelty
_ALIKE = 0.4  # squared distance of the means of two sections, of the variance, up to which one repeats the other


def sections(analysis: Analysis) -> tuple[Span, ...]:
    """Parts from the first second to the last; one part where nothing changes.

    The confidence of a part is the prominence of its beginning (0..1; 1 for the first).
    """
    return form(analysis)[0]


def form(analysis: Analysis) -> tuple[tuple[Span, ...], tuple[str, ...]]:
    """The sections, and a label of each: "A", "B" ...; sections that sound alike have the same one."""
    features_TF = _features(analysis)
    count, starts = len(features_TF), [(0.0, 1.0)]
    if count >= 3 * _LEAST_S and features_TF.any():
        novelty = _novelty(features_TF, min(_REACH_S, count // 3))
        found = peaks(novelty / np.ptp(novelty), distance=_LEAST_S, prominence=_SALIENT)
        bars = np.array(analysis.downbeats_s or [-1.0])
        for second, salience in found:
            if _LEAST_S <= second <= count - _LEAST_S:
                bar_s = float(bars[np.abs(bars - second).argmin()])
                starts.append((bar_s if abs(bar_s - second) <= _NEAR_S else float(second), min(salience, 1.0)))
    ends = [*(start_s for start_s, _ in starts[1:]), analysis.duration_s]
    spans = tuple(Span(start_s=a, end_s=b, confidence=p) for (a, p), b in zip(starts, ends, strict=True))
    bounds, labels = np.minimum([round(start_s) for start_s, _ in starts], count - 1), list[str]()
    means = np.add.reduceat(features_TF, bounds) / np.diff(bounds, append=count)[:, None]
    alike = _ALIKE * np.square(features_TF).sum(axis=1).mean()
    for i, mean in enumerate(means):
        far, others = np.square(means[:i] - mean).sum(axis=1), len(set(labels))
        repeats = i and far.min() <= alike
        labels.append(labels[int(far.argmin())] if repeats else ascii_uppercase[others : others + 1] or f"Z{others}")
    return spans, tuple(labels)


def _features(analysis: Analysis) -> Doubles:
    """Chord tones, energy, and what is present in each second, each kind with the same variance [shape=(T, F)]."""
    count = max(1, int(analysis.duration_s))
    tones, tags = np.zeros((count, 12)), [tag for tag in (analysis.voice, *analysis.instruments) if tag.spans]
    present = np.zeros((count, len(tags)))
    for segment in analysis.chords:
        chord = Chord.parse(segment.label)
        if chord is not None:
            rows = slice(round(segment.start_s), max(round(segment.start_s) + 1, round(segment.end_s)))
            tones[rows, [(chord.root + step) % 12 for step in QUALITIES[chord.quality]]] = segment.confidence
    for column, tag in enumerate(tags):
        for span in tag.spans:
            present[round(span.start_s) : round(span.end_s), column] = span.confidence
    curve = np.array(analysis.energy.values or [0.0])
    at = np.minimum((np.arange(count) / (analysis.energy.hop_s or 1.0)).astype(int), len(curve) - 1)
    raw = [np.pad(b, ((_SMOOTH_S, _SMOOTH_S), (0, 0)), mode="edge") for b in (tones, present, curve[at][:, None])]
    blocks = [running_mean(b, _SMOOTH_S, axis=0)[_SMOOTH_S:-_SMOOTH_S] for b in raw]
    spread = [float(np.sqrt(block.var(axis=0).sum())) for block in blocks]
    return np.concatenate([(b - b.mean(axis=0)) / s for b, s in zip(blocks, spread, strict=True) if s > 1e-6]
                          or [np.zeros((count, 1))], axis=1)  # fmt: skip


def _novelty(features_TF: Doubles, reach: int) -> Doubles:
    """How unlike the seconds before and after each moment are, and how alike on each side [shape=(T,)].

    Seconds are compared diagonal by diagonal, so that hours need no matrix of all pairs.
    """
    padded = np.pad(features_TF, ((reach, reach), (0, 0)), mode="reflect")
    time, squares = np.arange(-reach, reach) + 0.5, np.square(padded).sum(axis=1)
    side = np.exp(-0.5 * (time / (0.5 * reach)) ** 2) * np.sign(time)
    spread = 2 * np.square(features_TF).sum(axis=1).mean()  # mean squared distance: each feature has a mean of 0
    novelty = np.zeros(len(features_TF) + 1)
    for apart in range(2 * reach):
        left, right = padded[: len(padded) - apart], padded[apart:]
        distance = squares[: len(left)] + squares[apart:] - 2 * np.einsum("tf,tf->t", left, right)
        weights = side[: 2 * reach - apart] * side[apart:] * (2 if apart else 1)
        novelty += np.correlate(np.exp(-np.maximum(distance, 0) / spread), weights)
    return novelty[:-1]
