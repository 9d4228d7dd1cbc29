"""The part of a query that is compared by embedding: phrases and example sounds against frames.

Cosines of different phrases are not comparable (some phrases are near everything), so each is standardised by its own
mean and deviation over a sample of the collection's segments. The sum of standard scores is one linear functional of
a vector, which is what the exact scan over all segments ranks by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solfa.core.types import FloatArray
from solfa.models.scoring import best_window, phrase_scores, similarity, smooth

WINDOW_S = 9.0  # a phrase must fit a passage of this length, not one frame
_BEST_SHARE = 0.5  # of a phrase's score: its best passage; the rest is the mean over the track
_LEAST_DEVIATION = 0.02  # cosines that vary less than this over a collection say nothing about its tracks


@dataclass(frozen=True, eq=False, slots=True)
class Wanted:
    """L things to listen for: unit vectors, what to call them, and weights (negative: to avoid).

    ``shown_L``: whether the evidence of a hit speaks of it.
    """

    vectors_LD: FloatArray
    labels: tuple[str, ...]
    weights_L: FloatArray
    shown_L: tuple[bool, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Heard:
    """The best passage of one track, in frames: for everything together, and for each thing."""

    window: tuple[int, int]
    windows_L: tuple[tuple[int, int], ...]


class Sound:
    """Things to listen for, standardised over a sample of a collection's segments: unit vectors [shape=(S, D)]."""

    def __init__(self, wanted: Wanted, sample_SD: FloatArray) -> None:
        self.wanted = wanted
        some_SD = sample_SD if len(sample_SD) else np.zeros((1, wanted.vectors_LD.shape[1]), np.float32)
        cosines = similarity(some_SD, wanted.vectors_LD)
        self.mean_L = cosines.mean(axis=0)
        self.deviation_L = np.maximum(cosines.std(axis=0), _LEAST_DEVIATION)
        # Phrases of one query say partly the same, so that their sum grows slower than their number.
        self._share_L = wanted.weights_L / np.sqrt(np.abs(wanted.weights_L).sum() + 1e-9)

    @property
    def direction_D(self) -> FloatArray:
        """The vector whose dot product with a segment is the sum of standard scores, up to ``offset``."""
        direction: FloatArray = (self._share_L / self.deviation_L) @ self.wanted.vectors_LD
        return direction

    @property
    def offset(self) -> float:
        """What to take off a dot product with ``direction_D`` to get the sum of standard scores."""
        return float((self._share_L * self.mean_L / self.deviation_L).sum())

    def score(self, frames: Sequence[NDArray[np.int8]], hop_s: float) -> FloatArray:
        """Standard score of each thing in each track, half its best passage, half its mean; 0 for no frames (N, L)."""
        bounds = np.cumsum([0, *map(len, frames)])
        scores = np.zeros((len(frames), len(self.wanted.labels)), np.float32)
        filled = np.flatnonzero(np.diff(bounds))
        if len(filled) == 0:
            return scores
        cosines_TL = np.concatenate([similarity(f, self.wanted.vectors_LD) for f in frames])
        z_TL = (smooth(cosines_TL, _width(hop_s), bounds) - self.mean_L) / self.deviation_L
        best = phrase_scores(z_TL, bounds)[filled]
        mean = np.add.reduceat(z_TL, bounds[:-1][filled], axis=0) / np.diff(bounds)[filled, None]
        scores[filled] = np.clip(_BEST_SHARE * best + (1 - _BEST_SHARE) * mean, -4, 4)
        return scores

    def places(self, frames_TD: NDArray[np.int8], hop_s: float) -> Heard:
        """Where in one track it fits best."""
        width = _width(hop_s)
        z_TL = (smooth(similarity(frames_TD, self.wanted.vectors_LD), width) - self.mean_L) / self.deviation_L
        windows = tuple(best_window(z_TL[:, i], width) for i in range(z_TL.shape[1]))
        return Heard(best_window((z_TL * self._share_L).sum(axis=1), width), windows)

    def evidence(self, scores_NL: FloatArray) -> FloatArray:
        """Sum of standard scores of each track [shape=(N,)]."""
        summed: FloatArray = np.clip(scores_NL @ self._share_L, -4, 4).astype(np.float32)
        return summed


def _width(hop_s: float) -> int:
    return max(1, round(WINDOW_S / hop_s))
