"""What the benchmarks of recordings share: means with intervals, and how often confidences are right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from solfa.evaluation.significance import compare_paired, interval

BINS = 10


def shown(values: ArrayLike, seed: int = 0) -> str:
    """Mean and 95 % bootstrap interval over clips."""
    found = interval(values, num_resamples=2000, seed=seed)
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def difference(ours: ArrayLike, theirs: ArrayLike, seed: int = 0) -> str:
    """How much more of the same clips the first has right, with a 95 % bootstrap interval; * where that is real."""
    found = compare_paired(theirs, ours, num_resamples=2000, seed=seed)
    told = found.difference
    return f"{told.value:+.3f} [{told.low:+.3f}, {told.high:+.3f}]{'*' if found.real else ''}"


def wilson(right: float, count: float) -> tuple[float, float]:
    """95 % interval of a share (Wilson, 1927)."""
    z = 1.96
    middle, share = count + z * z, right / count
    centre = (right + z * z / 2) / middle
    half = z * float(np.sqrt(max(share * (1 - share), 0.0) * count + z * z / 4)) / middle
    return max(0.0, centre - half), min(1.0, centre + half)


@dataclass(frozen=True, eq=False)
class Reliability:
    """Confidences 0..1, whether each was right, and the clip that each is of: clips are what is resampled."""

    confidence: NDArray[np.float64]
    right: NDArray[np.float64]
    clip: NDArray[np.int_]

    @classmethod
    def of(cls, rows: Sequence[tuple[float, bool, int]]) -> Reliability:
        """From rows of confidence, right or not, and number of the clip."""
        confidence, right, clip = np.array(rows, float).reshape(-1, 3).T
        return cls(confidence, right, clip.astype(int))

    def within(self, low: float, high: float) -> tuple[int, float, float]:
        """Number of answers with a confidence in low..high (the upper bound counts at 1), mean and share right."""
        inside = (self.confidence >= low) & ((self.confidence < high) | (high >= 1))
        if not inside.any():
            return 0, float("nan"), float("nan")
        return int(inside.sum()), float(self.confidence[inside].mean()), float(self.right[inside].mean())

    def error(self, seed: int = 0, resamples: int = 1000) -> tuple[float, float, float]:
        """Expected calibration error over ten bins, and its 95 % bootstrap interval over clips."""
        _, clip = np.unique(self.clip, return_inverse=True)
        bins = np.minimum((self.confidence * BINS).astype(int), BINS - 1)
        sums = np.zeros((clip.max() + 1, BINS, 2))
        np.add.at(sums, (clip, bins), np.stack([np.ones(len(bins)), self.confidence - self.right], axis=1))
        drawn = np.random.default_rng(seed).multinomial(len(sums), np.full(len(sums), 1 / len(sums)), resamples)
        draws = np.einsum("rc,cbk->rbk", np.concatenate([np.ones((1, len(sums))), drawn]), sums)
        errors = np.abs(draws[:, :, 1]).sum(axis=1) / draws[:, :, 0].sum(axis=1)
        low, high = np.percentile(errors[1:], (2.5, 97.5))
        return float(errors[0]), float(low), float(high)
