"""How sure a number is: exact and bootstrap intervals, and whether the difference of two systems is real.

Conventions
-----------
Values come one per query. Queries that hang together (the captions of one track) share a group and are drawn together;
without that, several captions per track would feign a certainty that is not there. Every result follows from ``seed``.
Empty, non-finite or uneven input raises InputError. Sources: Clopper and Pearson 1934 (exact interval of a proportion),
Korn and Graubard 1998 (the same with the effective number of values), Efron and Tibshirani 1993 (percentile bootstrap;
test by the shifted bootstrap, algorithm 16.2), Smucker, Allan and Carterette, CIKM 2007 (randomisation test for
retrieval).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import beta

from solfa.core.errors import InputError
from solfa.evaluation.ranking import Floats, Ints

Statistic = Literal["mean", "median"]
_CHUNK_FLOATS, _TAIL = 1 << 22, 0.025


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A number with its interval. ``num`` is how many values it rests on, ``level`` the coverage."""

    value: float
    low: float
    high: float
    num: int
    level: float = 0.95


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """How much higher the second system scores than the first, on the same queries.

    ``p_bootstrap`` and ``p_randomisation`` are two-sided probabilities of so large a difference by chance alone.
    ``real`` is True where both are below 0.05 and the interval excludes 0.
    """

    difference: Interval
    p_bootstrap: float
    p_randomisation: float

    @property
    def real(self) -> bool:
        """Whether the difference is more than chance, at the 5 % level by both tests."""
        excludes_zero = self.difference.low > 0 or self.difference.high < 0
        return excludes_zero and max(self.p_bootstrap, self.p_randomisation) < 0.05


def interval(
    values: ArrayLike,
    *,
    statistic: Statistic = "mean",
    groups: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    proportion: bool | None = None,
    num_resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """The mean or median of the values with its interval.

    The mean of a ``proportion`` (values in 0..1; None: where every value is 0 or 1) has the exact interval of Clopper
    and Pearson, as the bootstrap covers far too seldom near 0 and 1 (59 % instead of 95 % of 50 values at p = 0.02).
    Everything else has the percentile bootstrap.

    ``values`` are float [shape=(Q,)]. Those with one number in ``groups``, int [shape=(Q,)], are drawn together; every
    value by itself if None. ``weights`` float [shape=(Q,)] > 0 make a weighted mean.

    Raises InputError if there are no values, one is not finite, `groups` or `weights` has another length, a weight is
    not positive or given for a median, or a value of a `proportion` is not in 0..1.
    """
    data = _checked(values)
    units = _units(groups, len(data))
    binary = bool(((data == 0) | (data == 1)).all()) if proportion is None else proportion
    if binary and statistic == "mean" and weights is None:
        return _exact(data, units)
    if weights is None:
        draws = _bootstrap(data[:, None], statistic, units, num_resamples, seed)[:, 0]
        return _interval(_statistic(data[:, None], statistic)[0], draws, len(data))
    w = np.asarray(weights, np.float64)
    if w.shape != data.shape or not (np.isfinite(w) & (w > 0)).all() or statistic != "mean":
        raise InputError("weights must be positive, one per value, and belong to a mean.")
    # A weighted mean is the mean of w x over the mean of w, both from the same draw.
    draws = _bootstrap(np.stack([w * data, w], axis=1), "mean", units, num_resamples, seed)
    return _interval(float((w * data).sum() / w.sum()), draws[:, 0] / draws[:, 1], len(data))


def compare_paired(
    first: ArrayLike,
    second: ArrayLike,
    *,
    statistic: Statistic = "mean",
    groups: ArrayLike | None = None,
    num_resamples: int = 5000,
    seed: int = 0,
) -> Difference:
    """Whether the second system differs from the first on the same queries.

    Parameters are those of `interval`, with one value of each system per query.
    """
    a, b = _checked(first), _checked(second)
    if len(a) != len(b):
        raise InputError(f"systems were scored on {len(a)} and {len(b)} queries; only the same queries can be paired.")
    units = _units(groups, len(a))
    both = np.stack([a, b], axis=1)
    observed = float(np.diff(_statistic(both, statistic))[0])
    draws = np.diff(_bootstrap(both, statistic, units, num_resamples, seed), axis=1)[:, 0]
    slack = 1e-12 * max(1.0, abs(observed))
    beyond = np.abs(draws - observed) >= abs(observed) - slack
    return Difference(
        difference=_interval(observed, draws, len(a)),
        p_bootstrap=float((1 + beyond.sum()) / (1 + num_resamples)),
        p_randomisation=_randomisation(both, statistic, units, observed, slack, num_resamples, seed),
    )


def _checked(values: ArrayLike) -> Floats:
    data = np.asarray(values, np.float64)
    if data.ndim != 1 or len(data) == 0:
        raise InputError(
            f"expected one value per query, got an array of shape {data.shape}. An empty set has no score."
        )
    if not np.isfinite(data).all():
        raise InputError(f"{int((~np.isfinite(data)).sum())} values are not finite; they cannot be averaged.")
    return data


def _units(groups: ArrayLike | None, num: int) -> Ints:
    # What is drawn together, numbered from 0 [shape=(num,)].
    labels = np.arange(num) if groups is None else np.asarray(groups)
    if labels.shape != (num,):
        raise InputError(f"groups must name one group per query: expected shape ({num},), got {labels.shape}.")
    return np.unique(labels, return_inverse=True)[1]


def _statistic(data: Floats, statistic: Statistic) -> Floats:
    return np.asarray(data.mean(axis=0) if statistic == "mean" else np.median(data, axis=0))


def _bootstrap(data: Floats, statistic: Statistic, units: Ints, num_resamples: int, seed: int) -> Floats:
    rng, num = np.random.default_rng(seed), int(units.max()) + 1
    out = np.empty((num_resamples, data.shape[1]))
    for i in range(num_resamples):
        times = np.bincount(rng.integers(num, size=num), minlength=num)[units]
        out[i] = (
            times @ data / times.sum() if statistic == "mean" else np.median(np.repeat(data, times, axis=0), axis=0)
        )
    return out


def resampled(
    score: Callable[[Ints], Mapping[str, float] | None], num: int, *, num_resamples: int, seed: int = 0
) -> dict[str, Interval]:
    """Scores of a whole set of ``num`` items, with percentile intervals by drawing items and scoring the draw.

    ``score`` takes rows of items; where it gives None, a draw cannot be scored and another is made in its place.
    """
    rng, draws = np.random.default_rng(seed), list[Mapping[str, float]]()
    while len(draws) < num_resamples:
        if (found := score(rng.integers(num, size=num))) is not None:
            draws.append(found)
    whole = score(np.arange(num)) or {}
    return {name: _interval(value, np.array([d[name] for d in draws]), num) for name, value in whole.items()}


def _interval(value: float, draws: Floats, num: int) -> Interval:
    low, high = np.quantile(draws, [_TAIL, 1 - _TAIL])
    return Interval(value=float(value), low=float(low), high=float(high), num=num)


def _exact(data: Floats, units: Ints) -> Interval:
    # Clopper-Pearson with the number of independent 0/1 values that would have the variance found: of values in groups,
    # and of values between 0 and 1, that is another number than len(data).
    if not ((data >= 0) & (data <= 1)).all():
        raise InputError(f"values of a proportion must be in 0..1, got {data.min()}..{data.max()}.")
    value = float(data.mean())
    residuals = np.bincount(units, data - value)
    variance = (residuals**2).sum() / len(data) ** 2 * len(residuals) / max(len(residuals) - 1, 1)
    num = value * (1 - value) / variance if variance > 0 else float(len(residuals))
    hits = num * value
    low = beta.ppf(_TAIL, hits, num - hits + 1) if value > 0 else 0.0
    high = beta.ppf(1 - _TAIL, hits + 1, num - hits) if value < 1 else 1.0
    return Interval(value=value, low=float(min(low, value)), high=float(max(high, value)), num=len(data))


def _randomisation(
    both: Floats, statistic: Statistic, units: Ints, observed: float, slack: float, num_resamples: int, seed: int
) -> float:
    # Under the null a system's name is a coin toss per query (or group): swap at random and see how often the
    # difference is as large. All 2^n swaps are tried where that is less work.
    num_units = int(units.max()) + 1
    exact = num_units < 63 and 2**num_units <= num_resamples
    total = 2**num_units if exact else num_resamples
    rng = np.random.default_rng([seed, 1])
    extreme, step = 0, max(1, _CHUNK_FLOATS // both.size)
    for i in range(0, total, step):
        rows = min(step, total - i)
        if exact:
            swap = (np.arange(i, i + rows)[:, None] >> np.arange(num_units)) & 1 == 1
        else:
            swap = rng.integers(0, 2, size=(rows, num_units), dtype=np.int8) == 1
        flip = swap[:, units]
        first, second = np.where(flip, both[:, 1], both[:, 0]), np.where(flip, both[:, 0], both[:, 1])
        deltas = _statistic(second.T, statistic) - _statistic(first.T, statistic)
        extreme += int((np.abs(deltas) >= abs(observed) - slack).sum())
    return extreme / total if exact else (1 + extreme) / (1 + total)
