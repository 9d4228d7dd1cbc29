"""Where in tracks something happens: energy curves and spans against places, many tracks at once.

Shape letters: N tracks, T energy frames, S spans.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solfa.core.query import Dynamics, Place
from solfa.core.types import FloatArray

Counts = NDArray[np.int64]
Doubles = NDArray[np.float64]

_LEAST_S = 3.0  # the shortest stretch that "at the start" can mean


def dynamics_fit(energy_NT: FloatArray, duration_s_N: FloatArray, wish: Dynamics) -> FloatArray:
    """P(satisfied) of energy curves (0..1, T frames over the whole track); NaN for tracks too short [shape=(N,)]."""
    energy, frames = energy_NT.astype(np.float64), _frames(wish.place, duration_s_N, energy_NT.shape[1])
    part = _sum(energy, frames, _equally)
    if wish.shape in ("quiet", "loud"):
        if wish.place is None:
            distance = (part - 0.5) / 0.25
        else:
            mean = _sum(energy, _frames(None, duration_s_N, energy.shape[1]), _equally)
            in_order = np.sort(energy_NT, axis=1)
            low, high = (_quantile(in_order, q) for q in (0.1, 0.9))
            distance = (part - mean) / np.maximum(high - low, 0.1)
        p = _logistic(distance if wish.shape == "loud" else -distance, 4.0)
    elif wish.shape in ("rises", "falls"):
        slope = _sum(energy, frames, lambda time: time * len(time) / max(float(time @ time), 1e-9))
        p = _logistic((slope if wish.shape == "rises" else -slope) - 0.15, 12.0)
    else:
        square = _sum(energy**2, frames, _equally)
        variation = np.sqrt(np.maximum(square - part**2, 0.0))
        p = _logistic((variation - 0.12) if wish.shape == "varies" else (0.12 - variation), 25.0)
    p[duration_s_N < 2 * _LEAST_S] = np.nan
    return p.astype(np.float32)


@dataclass(frozen=True, eq=False, slots=True)
class Spans:
    """Where something is heard in N tracks: start, end and confidence of S spans, and the track of each."""

    rows_S3: FloatArray
    track_S: Counts


def presence_at(spans: Spans, place: Place, duration_s_N: NDArray[np.floating]) -> FloatArray:
    """P(something does at the place what is asked: is heard there, enters, leaves, or is only there) [shape=(N,)]."""
    start, end = bounds(place, duration_s_N)
    p = _heard(spans, start, end)
    if place.event in ("enters", "only"):
        p = p * (1 - _heard(spans, 0 * start, start - 1.0))
    if place.event in ("leaves", "only"):
        p = p * (1 - _heard(spans, end + 1.0, duration_s_N.astype(np.float64)))
    return p.astype(np.float32)


def alone(others: Spans, duration_s_N: NDArray[np.floating]) -> FloatArray:
    """Share of each track in which nothing else is heard: 1 for a solo [shape=(N,)]."""
    seconds_N = np.maximum(1, np.rint(duration_s_N)).astype(np.int64)
    ends_N = np.cumsum(seconds_N)
    begin, last = (ends_N - seconds_N)[others.track_S], ends_N[others.track_S]
    low = others.rows_S3[:, 0].astype(np.int64)
    high = np.minimum(begin + np.maximum(low + 1, np.rint(others.rows_S3[:, 1]).astype(np.int64)), last)
    grid = np.zeros(seconds_N.sum())
    for i in np.argsort(others.rows_S3[:, 2]).tolist():  # the surest last: it stays
        grid[begin[i] + low[i] : high[i]] = others.rows_S3[i, 2]
    share = 1.0 - np.add.reduceat(grid, ends_N - seconds_N) / seconds_N if len(grid) else np.zeros(0)
    return np.where(duration_s_N <= 0, 1.0, share).astype(np.float32)


def place_s(place: Place, duration_s: float) -> tuple[float, float]:
    """The place in seconds, at least three long where the track allows; empty if it begins after the track's end."""
    start, end = bounds(place, np.array([duration_s]))
    return float(start[0]), float(end[0])


def bounds(place: Place, duration_s_N: NDArray[np.floating]) -> tuple[Doubles, Doubles]:
    """``place_s`` of many tracks [shape=(N,) each]."""
    duration = duration_s_N.astype(np.float64)
    if place.absolute:
        start, end = (
            default if value is None else np.clip(value + duration if value < 0 else value, 0.0, duration)
            for value, default in ((place.start_s, 0 * duration), (place.end_s, duration))
        )
    else:
        start, end = place.start * duration, place.end * duration
    beyond = (start >= duration) & (place.start_s is not None)
    middle, short = (start + end) / 2, end - start < _LEAST_S
    start, end = np.where(short, middle - _LEAST_S / 2, start), np.where(short, middle + _LEAST_S / 2, end)
    shift = np.where(short, np.maximum(0.0, -start) - np.maximum(0.0, end - duration), 0.0)
    start, end = np.maximum(0.0, start + shift), np.minimum(duration, end + shift)
    return np.where(beyond, duration, start), np.where(beyond, duration, end)


def _heard(spans: Spans, start_s_N: Doubles, end_s_N: Doubles) -> Doubles:
    """Confidence that the thing is heard in a range of each track; brushing its edge counts by the overlap."""
    start, end = start_s_N[spans.track_S], end_s_N[spans.track_S]
    overlap = np.minimum(spans.rows_S3[:, 1], end) - np.maximum(spans.rows_S3[:, 0], start)
    share = np.clip(overlap / np.clip(end - start, 1e-9, 2.0), 0.0, 1.0)
    best = np.zeros(len(start_s_N))
    np.maximum.at(best, spans.track_S, spans.rows_S3[:, 2] * share)
    return np.where(end_s_N > start_s_N, best, 0.0)


def _frames(place: Place | None, duration_s_N: FloatArray, count: int) -> tuple[Counts, Counts]:
    """First and last+1 of the frames that lie in the place, at least one each [shape=(N,) each]."""
    if place is None:
        return np.zeros(len(duration_s_N), np.int64), np.full(len(duration_s_N), count)
    start, end = bounds(place, duration_s_N)
    hop_s = np.maximum(duration_s_N, 1e-6) / count
    low = np.minimum((start / hop_s).astype(np.int64), count - 1)
    return low, np.clip(np.round(end / hop_s).astype(np.int64), low + 1, count)


def _sum(values_NT: Doubles, frames: tuple[Counts, Counts], weights: Callable[[Doubles], Doubles]) -> Doubles:
    """Weighted sum over the frames of each track; ``weights`` are given frame numbers about their mean [shape=(N,)].

    Most tracks have the same frames, so it goes range by range; einsum adds up a row in the same order in any company.
    """
    low_N, high_N = frames
    total = np.zeros(len(values_NT))
    codes = low_N * (values_NT.shape[1] + 1) + high_N
    for code in np.unique(codes).tolist():
        low, high = divmod(code, values_NT.shape[1] + 1)
        rows = codes == code
        own = values_NT[:, low:high] if rows.all() else values_NT[rows, low:high]
        total[rows] = np.einsum("nt,t->n", own, weights(np.arange(high - low) - (high - low - 1) / 2))
    return total


def _equally(time: Doubles) -> Doubles:
    return np.full(len(time), 1 / len(time))


def _quantile(in_order_NT: FloatArray, share: float) -> Doubles:
    """Between the two sorted values that are nearest to a share of the way up [shape=(N,)]."""
    whole, part = divmod(share * (in_order_NT.shape[1] - 1), 1.0)
    below = in_order_NT[:, int(whole)].astype(np.float64)
    above = in_order_NT[:, min(int(whole) + 1, in_order_NT.shape[1] - 1)].astype(np.float64)
    between: Doubles = below + (above - below) * part
    return between


def _logistic(x: NDArray[np.floating], slope: float) -> FloatArray:
    p: FloatArray = 1.0 / (1.0 + np.exp(-slope * x))
    return p
