"""What analyzers need of a signal library beyond numpy's FFT, so that an installation does without scipy."""

from functools import reduce

import numpy as np
from numpy.typing import NDArray

from solfa.core.types import FloatArray

_BLOCK, _STRETCH = 32, 65536  # samples at once: what the cache holds


def running_mean(values: FloatArray, size: int, *, axis: int = -1, before: int | None = None) -> FloatArray:
    """Mean over ``size`` neighbours along an axis, ``before`` (half) of which come before a value; ends are mirrored.

    Bit for bit ``scipy.ndimage.uniform_filter1d``: a running sum in float64, rounded to the type of ``values``.
    """
    if not values.size:
        return values.copy()
    before = size // 2 if before is None else before
    along = np.moveaxis(values, axis, -1)
    count, means = along.shape[-1], np.empty(along.shape, values.dtype)
    at = np.arange(-before, count + size - 1 - before) % (2 * count)
    mirrored, rows = np.minimum(at, 2 * count - 1 - at), means.reshape(-1, count)
    for block in range(0, len(rows), step := max(1, _STRETCH // count)):
        padded = along.reshape(-1, count)[block : block + step, mirrored].astype(np.float64)
        sums = padded[:, size - 1 :].copy()
        sums[:, 0] = np.cumsum(padded[:, :size], axis=1)[:, -1]
        sums[:, 1:] -= padded[:, :-size]
        rows[block : block + step] = np.cumsum(sums, axis=1, out=sums) / size
    return np.moveaxis(means, -1, axis)


def block_means(rows: FloatArray, size: int) -> NDArray[np.float64]:
    """Mean over every ``size`` rows [shape=(ceil(T / size), C)]; the last one over what is left."""
    starts = np.arange(0, len(rows), size)
    means: NDArray[np.float64] = np.add.reduceat(rows, starts) / np.diff(starts, append=len(rows))[:, None]
    return means


def running_max(values: FloatArray, reach: int) -> FloatArray:
    """Greatest of each value and its ``reach`` neighbours to each side along the last axis."""
    sides = [(0, 0)] * (values.ndim - 1) + [(reach, reach)]
    padded, count = np.pad(values, sides, constant_values=-np.inf), values.shape[-1]
    return reduce(np.maximum, (padded[..., i : i + count] for i in range(2 * reach + 1)))


def peaks(values: NDArray[np.float64], *, distance: int, prominence: float) -> list[tuple[int, float]]:
    """Place and prominence of local maxima, the higher of two nearer than ``distance``; ``scipy.signal.find_peaks``."""
    change = np.flatnonzero(np.diff(values))  # a plateau is between two changes
    rise = values[change + 1] > values[change]
    at = np.flatnonzero(rise[:-1] & ~rise[1:])
    tops = ((change[at] + 1 + change[at + 1]) // 2).tolist()
    keep = dict.fromkeys(tops, True)
    for top in sorted(tops, key=lambda t: (values[t], t), reverse=True):
        if keep[top]:
            keep |= {other: False for other in tops if 0 < abs(other - top) < distance}
    found = []
    for top in (t for t in tops if keep[t]):
        higher = np.flatnonzero(values > values[top])
        left, right = higher[higher < top].max(initial=-1) + 1, higher[higher > top].min(initial=len(values))
        height = values[top] - max(values[left : top + 1].min(), values[top:right].min())
        if height >= prominence:
            found.append((top, float(height)))
    return found


def expit(x: FloatArray) -> FloatArray:
    """The logistic function 1 / (1 + exp(-x)), exact in both tails and without overflow."""
    p: FloatArray = np.exp(-np.logaddexp(0, -x))
    return p


def fast_length(least: int) -> int:
    """The smallest length of at least ``least`` without a prime factor above 5: its FFT is fast."""
    factors = [int(3**b * 5**c) for b in range(21) for c in range(14)]
    return min(factor << (-(-least // factor) - 1).bit_length() for factor in factors)


def filtered(sections: NDArray[np.float64], samples: FloatArray) -> NDArray[np.float64]:
    """Samples through a cascade of second-order sections at rest, as ``scipy.signal.sosfilt`` to rounding, in float64.

    The recursion steps from block to block, not from sample to sample: in state space (direct form II transposed) the
    output of a block is linear in its samples and in the state before it.

    Each row of ``sections`` [shape=(sections, 6)] is b0, b1, b2, 1, a1, a2.
    """
    response, left, free, keep = _block_matrices(sections)
    out, state = np.empty(len(samples)), np.zeros(len(keep))
    for start in range(0, len(samples), _STRETCH):
        part = samples[start : start + _STRETCH]
        blocks = np.pad(part, (0, -len(part) % _BLOCK)).reshape(-1, _BLOCK).astype(np.float64)
        states = np.vstack([state, blocks @ left])  # what each block leaves behind, then with what was there before
        step, power = 1, keep
        while step < len(states) and np.abs(power).max() > 1e-20:  # in doubling steps, until the oldest has died away
            states[step:] = states[step:] + states[:-step] @ power
            power, step = power @ power, 2 * step
        state = states[-1]
        out[start : start + len(part)] = (blocks @ response + states[:-1] @ free).reshape(-1)[: len(part)]
    return out


def _block_matrices(sections: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """From the samples of a block to its outputs and the state after it, from the state before it to the same."""
    order = 2 * len(sections)
    state = np.eye(order, order + 1)  # a column for a run from each unit state, the last one for a unit sample
    out, after = np.zeros((_BLOCK, order + 1)), np.zeros((_BLOCK, order, order + 1))
    for n in range(_BLOCK):
        signal = np.eye(order + 1)[-1] * (n == 0)
        for (b0, b1, b2, _, a1, a2), pair in zip(sections, state.reshape(-1, 2, order + 1), strict=True):
            before, signal = signal, b0 * signal + pair[0]
            pair[:] = b1 * before - a1 * signal + pair[1], b2 * before - a2 * signal
        out[n], after[n] = signal, state
    delay = np.arange(_BLOCK)[None] - np.arange(_BLOCK)[:, None]
    response = np.where(delay >= 0, out[delay, -1], 0.0)
    return response, after[::-1, :, -1].copy(), out[:, :-1].T.copy(), after[-1, :, :-1].T.copy()
