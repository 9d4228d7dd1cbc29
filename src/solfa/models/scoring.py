"""The one place where frames and tokens are compared: used by search, evaluation and (with tensors) training.

Conventions: similarities are cosines of unit vectors, sums are float32 or wider. A masked frame or token never takes
part: it is set to the lowest value before a maximum and left out of a mean (multiplying by zero would let padding beat
a negative similarity). The score of an item without a single real frame or token is ``EMPTY_SCORE``.

Shape letters: T frames, L tokens, D dimensions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from solfa.core.types import FloatArray

# Unit vectors are stored as int8 with this one global scale. One scale for all keeps maxima comparable; products of
# int8 values summed over fewer than 1040 dimensions stay below 2**24, so that float32 arithmetic on them is exact.
INT8_SCALE = 127.0
EMPTY_SCORE = -1.0
# Multiplications up to which OpenBLAS keeps a product, or one with a single token, on the calling thread. Its other
# threads would gain nothing here, and spin for milliseconds after each product on cores that others need.
_ONE_THREAD, _ONE_THREAD_SINGLE = 262_144, 9_216


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


def frame_score(similarity_TL: FloatArray, frame_mask_T: NDArray[np.bool_], token_mask_L: NDArray[np.bool_]) -> float:
    """FIGMA's frame-level score: mean over frames of the maximum over tokens (arXiv 2606.06615).

    >>> s = np.array([[0.5, -0.2], [0.1, 0.3], [0.9, 0.9]], np.float32)
    >>> round(frame_score(s, np.array([True, True, False]), np.array([True, True])), 6)
    0.4
    """
    if not frame_mask_T.any() or not token_mask_L.any():
        return EMPTY_SCORE
    return float(similarity_TL[frame_mask_T][:, token_mask_L].max(axis=1).mean(dtype=np.float64))


def phrase_scores(similarity_TL: FloatArray, bounds: NDArray[np.int64]) -> FloatArray:
    """For each item and token (phrase) the maximum over the item's frames: is it heard anywhere (late interaction).

    Item i has the frames ``[bounds[i], bounds[i + 1])`` [shape=(N, L)].

    >>> s = np.array([[0.5, -0.25], [0.125, 0.25], [0.875, 0.75]], np.float32)
    >>> phrase_scores(s, np.array([0, 2, 2, 3])).tolist()
    [[0.5, 0.25], [-1.0, -1.0], [0.875, 0.75]]
    """
    best = np.full((len(bounds) - 1, similarity_TL.shape[1]), EMPTY_SCORE, np.float32)
    filled = np.flatnonzero(np.diff(bounds))
    if len(filled):
        best[filled] = np.maximum.reduceat(similarity_TL, bounds[:-1][filled], axis=0)
    return best


def smooth(similarity_TL: FloatArray, width: int, bounds: NDArray[np.int64] | None = None) -> FloatArray:
    """Moving average over ``width`` frames, edges averaged over the frames that exist [same shape].

    A phrase that fits one frame by accident should not beat one that fits a passage. Item i of several has the frames
    ``[bounds[i], bounds[i + 1])``; nothing flows from one to the next.
    """
    if width <= 1 or len(similarity_TL) == 0:
        return similarity_TL
    bounds = np.array([0, len(similarity_TL)]) if bounds is None else bounds
    total = np.zeros((len(similarity_TL) + 1, similarity_TL.shape[1]))
    np.cumsum(similarity_TL, axis=0, dtype=np.float64, out=total[1:])
    index, lengths = np.arange(len(similarity_TL)), np.diff(bounds)
    low = np.maximum(np.repeat(bounds[:-1], lengths), index - (width - 1) // 2)
    high = np.minimum(np.repeat(bounds[1:], lengths), index + width // 2 + 1)
    averaged: FloatArray = ((total[high] - total[low]) / (high - low)[:, None]).astype(np.float32)
    return averaged


def best_window(score_T: FloatArray, width: int) -> tuple[int, int]:
    """First and last+1 frame of the window of ``width`` frames with the highest mean (the earliest of equals)."""
    if len(score_T) <= width:
        return 0, len(score_T)
    total = np.concatenate([[0.0], np.cumsum(score_T, dtype=np.float64)])
    start = int(np.argmax(np.round(total[width:] - total[:-width], 9)))
    return start, start + width
