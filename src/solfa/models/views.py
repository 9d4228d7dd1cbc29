"""How sound and text are scored: one definition for search, evaluation, ``--like`` and validation.

A sound is cut into *windows*; each has a pooled vector and frames. A *view* (``core.types.View``) scores a window
against a text: ``global`` is the cosine of the pooled vectors, ``frame`` is ``scoring.frame_score`` (FIGMA, arXiv
2606.06615), ``mix`` weighs both. The score of a track is ``track_scores`` of those of its windows. The losses compute
the same frame score with gradients (``alignment.frame_scores``; a test holds both equal).

Shape letters: N tracks, W windows, T frames, X texts, L tokens, D dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solfa.core.types import Features, FloatArray, View
from solfa.models.scoring import EMPTY_SCORE, similarity

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
# Of a track's score: its best window; the rest is the mean over its windows (measured in docs/experiments.md).
BEST_SHARE = 0.5


@dataclass(frozen=True, eq=False, slots=True)
class Windows:
    """One sound, window by window.

    Parameters
    ----------
    pooled_WD, frames_TD
        unit vectors: float32, float16, or what ``scoring.quantise`` made of them
    ranges_W2
        first and last+1 frame of each window
    start_s_T
        when each frame begins
    """

    pooled_WD: NDArray[np.generic]
    frames_TD: NDArray[np.generic]
    ranges_W2: Ints
    start_s_T: FloatArray


@dataclass(frozen=True, eq=False, slots=True)
class Texts:
    """X texts: pooled unit vectors, and the token vectors of each [shape=(L, D)]."""

    pooled_XD: FloatArray
    tokens: tuple[FloatArray, ...]

    @classmethod
    def of(cls, features: Features) -> Texts:
        """What a text encoder gave."""
        rows = zip(features.frames_BTD, features.mask_BT, strict=True)
        return cls(features.global_BD, tuple(row[mask] for row, mask in rows))


def window_scores(view: View, windows: Windows, texts: Texts) -> Floats:
    """Scores of each window with each text, float64 [shape=(W, X)]; a window or text without frames gets -1."""
    if view.name == "global":
        return similarity(windows.pooled_WD, texts.pooled_XD).astype(np.float64)
    by_frame = frame_scores(view, windows, texts)
    if view.name == "frame":
        return by_frame
    by_global = similarity(windows.pooled_WD, texts.pooled_XD).astype(np.float64)
    return view.alpha * by_global + (1 - view.alpha) * by_frame


def frame_scores(view: View, windows: Windows, texts: Texts) -> Floats:
    """The frame score of each window with each text, float64 [shape=(W, X)]."""
    scores = np.full((len(windows.ranges_W2), len(texts.tokens)), EMPTY_SCORE)
    counts = np.array([len(tokens) for tokens in texts.tokens], np.int64)
    if not counts.sum() or not len(windows.frames_TD):
        return scores
    cosines_TL = similarity(windows.frames_TD, np.concatenate(texts.tokens))
    filled = np.flatnonzero(counts)
    starts = (np.cumsum(counts) - counts)[filled]
    by_frames = view.direction == "frames"
    best_TX = np.maximum.reduceat(cosines_TL, starts, axis=1) if by_frames else None
    for row, (first, last) in enumerate(windows.ranges_W2.tolist()):
        if first == last:
            continue
        if best_TX is not None:
            scores[row, filled] = best_TX[first:last].mean(axis=0, dtype=np.float64)
        else:
            best_L = cosines_TL[first:last].max(axis=0).astype(np.float64)
            scores[row, filled] = np.add.reduceat(best_L, starts) / counts[filled]
    return scores


def track_scores(scores_WX: Floats, bounds: Ints) -> Floats:
    """Scores of tracks from those of their windows: half the best window, half the mean of all [shape=(N, X)].

    Track i has the windows ``[bounds[i], bounds[i + 1])``, at least one; of one window it is that window's score.

    >>> track_scores(np.array([[0.2], [0.6], [0.1]]), np.array([0, 2, 3])).ravel().tolist()
    [0.5, 0.1]
    """
    best = np.maximum.reduceat(scores_WX, bounds[:-1], axis=0)
    mean = np.add.reduceat(scores_WX, bounds[:-1], axis=0) / np.diff(bounds)[:, None]
    # Not a weighted sum: the two are one number for a single window, and it has to stay that number.
    both: Floats = mean + BEST_SHARE * (best - mean)
    return both


def laid_out(
    pooled_WD: NDArray[np.generic],
    frames_TD: NDArray[np.generic],
    counts: Sequence[int] | NDArray[np.integer],
    window_s: float,
    hop_s: float,
) -> Windows:
    """Windows that follow each other without overlap: ``counts`` frames each, ``window_s`` apart."""
    ends = np.cumsum(np.asarray(counts, np.int64))
    ranges = np.stack([ends - counts, ends], axis=1).reshape(-1, 2)
    starts = [window_s * w + hop_s * np.arange(count) for w, count in enumerate(np.asarray(counts).tolist())]
    return Windows(pooled_WD, frames_TD, ranges, np.concatenate([np.zeros(0), *starts]).astype(np.float32))
