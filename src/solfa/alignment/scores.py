"""How sound and text are compared and scored: one definition for search, evaluation, ``--like`` and validation.

A sound is cut into *windows*; each has a pooled vector and frames. A *view* (``core.types.View``) scores a window
against a text: ``global`` is the cosine of the pooled vectors, ``frame`` is ``frame_scores`` (FIGMA, arXiv 2606.06615),
``mix`` weighs both. The score of a track is ``track_scores`` of those of its windows. ``pairwise`` has the frame score
with gradients, for training; a test holds both equal.

Similarities are cosines of unit vectors, sums are float32 or wider. Frames and tokens that are not real never take part
(multiplying by zero would let padding beat a negative similarity). What has no real frame or token scores
``EMPTY_SCORE``.

Shape letters: N tracks, W windows, T frames, X texts, L tokens, D dimensions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solfa.core.types import Direction, Features, FloatArray, View

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
# Unit vectors are stored as int8 with this one global scale. One scale for all keeps maxima comparable; products of
# int8 values summed over fewer than 1040 dimensions remain below 2**24, so that float32 arithmetic on them is exact.
INT8_SCALE = 127.0
EMPTY_SCORE = -1.0
# Multiplications up to which OpenBLAS keeps a product, or one with a single token, on the calling thread. Its other
# threads would gain nothing here, and spin for milliseconds after each product on cores that others need.
_ONE_THREAD, _ONE_THREAD_SINGLE = 262_144, 9_216
# Of a track's score: its best window; the rest is the mean over its windows (measured in docs/experiments.md).
BEST_SHARE = 0.5


@dataclass(frozen=True, eq=False, slots=True)
class Windows:
    """One sound, window by window.

    ``pooled_WD``, ``frames_TD``: unit vectors: float32, float16, or what ``quantise`` made of them; ``ranges_W2``:
    first and last+1 frame of each window; ``start_s_T``: when each frame begins.
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
    def of(cls, features: Features) -> "Texts":
        """What a text encoder gave."""
        rows = zip(features.frames_BTD, features.mask_BT, strict=True)
        return cls(features.global_BD, tuple(row[mask] for row, mask in rows))


def quantise(vectors: FloatArray) -> NDArray[np.int8]:
    """Unit vectors as int8 [same shape]; the largest error of a component is 1/254."""
    whole: NDArray[np.int8] = np.clip(np.rint(vectors * INT8_SCALE), -127, 127).astype(np.int8)
    return whole


def similarity(frames_TD: NDArray[np.generic], tokens_LD: FloatArray) -> FloatArray:
    """Cosine of every frame with every token [shape=(T, L)].

    ``frames_TD`` may be unit float vectors or what ``quantise`` made of them.
    """
    scale = np.float32(1 / INT8_SCALE) if frames_TD.dtype == np.int8 else np.float32(1)
    step = max(1, (_ONE_THREAD if len(tokens_LD) > 1 else _ONE_THREAD_SINGLE) // max(1, tokens_LD.size))
    cosines = np.empty((len(frames_TD), len(tokens_LD)), np.float32)
    for start in range(0, len(frames_TD), step):
        np.matmul(frames_TD[start : start + step].astype(np.float32), tokens_LD.T, out=cosines[start : start + step])
    cosines *= scale
    return cosines


def frame_scores(
    cosines_TL: NDArray[np.floating], ranges_W2: Ints, counts_X: Ints, direction: Direction = "frames"
) -> Floats:
    """Frame score of each window with each text, float64 [shape=(W, X)]: mean over frames of the best token's cosine.

    - ``cosines_TL``: of the frames of all windows with the tokens of all texts, one text's after the other's
    - ``ranges_W2``: first and last+1 frame of each window
    - ``counts_X``: tokens of each text
    - ``direction``: ``tokens``: mean over tokens of the best frame instead

    >>> cosines = np.array([[0.5, -0.25], [0.125, 0.25], [0.875, 0.75]], np.float32)
    >>> frame_scores(cosines, np.array([[0, 2], [2, 2], [2, 3]]), np.array([2])).ravel().tolist()
    [0.375, -1.0, 0.875]
    """
    scores = np.full((len(ranges_W2), len(counts_X)), EMPTY_SCORE)
    filled = np.flatnonzero(counts_X)
    if not len(filled) or not len(cosines_TL):
        return scores
    starts = (np.cumsum(counts_X) - counts_X)[filled]
    best_TX = np.maximum.reduceat(cosines_TL, starts, axis=1) if direction == "frames" else None
    for row, (first, last) in enumerate(ranges_W2.tolist()):
        if first == last:
            continue
        if best_TX is not None:
            scores[row, filled] = best_TX[first:last].mean(axis=0, dtype=np.float64)
        else:
            best_L = cosines_TL[first:last].max(axis=0).astype(np.float64)
            scores[row, filled] = np.add.reduceat(best_L, starts) / counts_X[filled]
    return scores


def window_scores(view: View, windows: Windows, texts: Texts) -> Floats:
    """Scores of each window with each text, float64 [shape=(W, X)]; a window or text without frames gets -1."""
    if view.name == "global":
        return similarity(windows.pooled_WD, texts.pooled_XD).astype(np.float64)
    tokens_LD = np.concatenate([texts.pooled_XD[:0], *texts.tokens])
    counts_X = np.array([len(tokens) for tokens in texts.tokens], np.int64)
    by_frame = frame_scores(similarity(windows.frames_TD, tokens_LD), windows.ranges_W2, counts_X, view.direction)
    if view.name == "frame":
        return by_frame
    by_global = similarity(windows.pooled_WD, texts.pooled_XD).astype(np.float64)
    return view.alpha * by_global + (1 - view.alpha) * by_frame


_UNIT = 1 << 28  # what a cosine of 1 is in a sum: finer than float32, and exact over 30 million frames


def track_scores(scores_WX: Floats, bounds: Ints) -> Floats:
    """Scores of tracks from those of their windows: half the best window, half the mean of all [shape=(N, X)].

    Track i has the windows ``[bounds[i], bounds[i + 1])``, at least one; of one window it is that window's score.

    >>> track_scores(np.array([[0.2], [0.6], [0.1]]), np.array([0, 2, 3])).ravel().tolist()
    [0.5, 0.1]
    """
    best = np.maximum.reduceat(scores_WX, bounds[:-1], axis=0)
    mean = np.add.reduceat(scores_WX, bounds[:-1], axis=0) / np.diff(bounds)[:, None]
    # Not a weighted sum: the two are one number for a single window, and it has to remain that number.
    both: Floats = mean + BEST_SHARE * (best - mean)
    return both


def smooth(similarity_TL: FloatArray, width: int, bounds: NDArray[np.int64] | None = None) -> FloatArray:
    """Moving average over ``width`` frames, edges averaged over the frames that exist [same shape].

    A phrase that fits one frame by accident should not beat one that fits a passage. Item i of several has the frames
    ``[bounds[i], bounds[i + 1])``; nothing flows from one to the next, not even rounding: sums are of whole numbers.
    """
    if width <= 1 or len(similarity_TL) == 0:
        return similarity_TL
    bounds = np.array([0, len(similarity_TL)]) if bounds is None else bounds
    total = np.zeros((len(similarity_TL) + 1, similarity_TL.shape[1]))
    np.cumsum(np.rint(similarity_TL * np.float64(_UNIT)), axis=0, out=total[1:])
    index, lengths = np.arange(len(similarity_TL)), np.diff(bounds)
    low = np.maximum(np.repeat(bounds[:-1], lengths), index - (width - 1) // 2)
    high = np.minimum(np.repeat(bounds[1:], lengths), index + width // 2 + 1)
    averaged: FloatArray = ((total[high] - total[low]) / (_UNIT * (high - low)[:, None])).astype(np.float32)
    return averaged


def best_window(score_T: FloatArray, width: int) -> tuple[int, int]:
    """First and last+1 frame of the window of ``width`` frames with the highest mean (the earliest of equals)."""
    if len(score_T) <= width:
        return 0, len(score_T)
    total = np.concatenate([[0.0], np.cumsum(score_T, dtype=np.float64)])
    start = int(np.argmax(np.round(total[width:] - total[:-width], 9)))
    return start, start + width


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
