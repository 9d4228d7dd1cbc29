"""Sections of a track, from what was measured of it: where the music changes.

Boundaries are peaks of the novelty of a self-similarity matrix (Foote, ICME 2000), computed over chord tones, energy,
voice and instruments at once.
"""

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
_ALIKE = 1.0  # squared distance of the means of two parts up to which one repeats the other


def sections(analysis: Analysis) -> tuple[Span, ...]:
    """Parts from the first second to the last; one part where nothing changes.

    The confidence of a part is the prominence of its beginning (0..1; 1 for the first).
    """
    return _sections(analysis, _features(analysis))


def form(analysis: Analysis) -> tuple[tuple[Span, ...], tuple[str, ...]]:
    """The sections, and a label of each: "A", "B" ...; sections that sound alike have the same one."""
    features_TF = _features(analysis)
    found, means, labels = _sections(analysis, features_TF), list[Doubles](), list[str]()
    for span in found:
        first = min(int(span.start_s), len(features_TF) - 1)
        mean = features_TF[first : max(first + 1, round(span.end_s))].mean(axis=0)
        far = [float(np.square(mean - other).sum()) for other in means]
        nearest = int(np.argmin(far)) if far else 0
        labels.append(labels[nearest] if far and far[nearest] <= _ALIKE else _letters(len(set(labels))))
        means.append(mean)
    return found, tuple(labels)


def _letters(number: int) -> str:
    """A to Z, then AA, AB ..."""
    return (_letters(number // 26 - 1) if number >= 26 else "") + chr(ord("A") + number % 26)


def _sections(analysis: Analysis, features_TF: Doubles) -> tuple[Span, ...]:
    count, starts = len(features_TF), [(0.0, 1.0)]
    if count >= 3 * _LEAST_S and features_TF.any():
        squares = np.square(features_TF).sum(axis=1)
        distance_TT = np.maximum(squares[:, None] + squares - 2 * features_TF @ features_TF.T, 0)
        novelty = _novelty(np.exp(-distance_TT / distance_TT.mean()), min(_REACH_S, count // 3))
        found = peaks(novelty / np.ptp(novelty), distance=_LEAST_S, prominence=_SALIENT)
        bars = np.array(analysis.downbeats_s or [-1.0])
        for second, salience in found:
            if _LEAST_S <= second <= count - _LEAST_S:
                bar_s = float(bars[np.abs(bars - second).argmin()])
                starts.append((bar_s if abs(bar_s - second) <= _NEAR_S else float(second), min(salience, 1.0)))
    ends = [*(start_s for start_s, _ in starts[1:]), analysis.duration_s]
    return tuple(Span(start_s=a, end_s=b, confidence=p) for (a, p), b in zip(starts, ends, strict=True))


def _features(analysis: Analysis) -> Doubles:
    """Chord tones, energy, and what is present in each second, each kind with the same variance [shape=(T, F)]."""
    count = max(1, int(analysis.duration_s))
    tones, tags = np.zeros((count, 12)), (analysis.voice, *analysis.instruments)
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


def _novelty(similar_TT: Doubles, reach: int) -> Doubles:
    """How unlike the seconds before and after each moment are, and how alike on each side [shape=(T,)]."""
    time = np.arange(-reach, reach) + 0.5
    side = np.exp(-0.5 * (time / (0.5 * reach)) ** 2) * np.sign(time)
    padded = np.pad(similar_TT, reach, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * reach, 2 * reach))
    diagonal = windows[np.arange(len(similar_TT)), np.arange(len(similar_TT))]
    novelty: Doubles = np.einsum("tij,i,j->t", diagonal, side, side)
    return novelty
