"""A shape of the energy curve.

Shape letters: N tracks, T energy frames.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from solfa.constraints.base import (
    SHAPE_BASE,
    Columns,
    Constraint,
    Counts,
    Doubles,
    Likelihood,
    Measured,
    Place,
    Timed,
    Tracks,
    Verdict,
)
from solfa.core.types import FloatArray, Span

_STEADY = 0.12  # deviation of the energy from which it varies
_CHANGE = 0.1  # of the energy (0..1): less is no change that a listener could be sure of
_SHORTEST_S = 6.0  # shorter tracks have no shape


@dataclass(frozen=True, kw_only=True, slots=True)
class Dynamics(Constraint):
    """A shape of the energy curve: ``quiet``/``loud`` at a place, or ``rises``/``falls``/``steady``/``varies``."""

    topic: ClassVar[str] = "dynamics"

    shape: Literal["quiet", "loud", "rises", "falls", "steady", "varies"]
    place: Place | None = None

    @property
    def needs_timeline(self) -> bool:
        """Always: columns hold the curve in 32 parts only."""
        return True

    def asked(self) -> str:
        """The shape, and where."""
        return self.shape + ("" if self.place is None else self.place.words())

    def fit(self, energy_NT: FloatArray, duration_s_N: FloatArray) -> FloatArray:
        """P(satisfied) of energy curves over whole tracks, 0..1; NaN for tracks that are too short [shape=(N,)]."""
        energy, frames = energy_NT.astype(np.float64), _frames(self.place, duration_s_N, energy_NT.shape[1])
        part = _sum(energy, frames, _equally)
        if self.shape in ("quiet", "loud"):
            if self.place is None:
                distance = (part - 0.5) / 0.25
            else:
                mean = _sum(energy, _frames(None, duration_s_N, energy.shape[1]), _equally)
                in_order = np.sort(energy_NT, axis=1)
                low, high = (_quantile(in_order, q) for q in (0.1, 0.9))
                distance = (part - mean) / np.maximum(high - low, 0.1)
            p = _logistic(distance if self.shape == "loud" else -distance, 4.0)
        elif self.shape in ("rises", "falls"):
            slope = _sum(energy, frames, lambda time: time * len(time) / max(float(time @ time), 1e-9))
            p = _logistic((slope if self.shape == "rises" else -slope) - 0.15, 12.0)
        else:
            square = _sum(energy**2, frames, _equally)
            variation = np.sqrt(np.maximum(square - part**2, 0.0))
            p = _logistic((variation - _STEADY) if self.shape == "varies" else (_STEADY - variation), 25.0)
        p[duration_s_N < _SHORTEST_S] = np.nan
        return p.astype(np.float32)

    def from_columns(self, tracks: Tracks) -> Likelihood:
        """From the energy curve in equal parts."""
        p = self.fit(tracks.energy_profiles(), tracks.attributes().column("duration_s"))
        return Likelihood.filled(p, SHAPE_BASE)

    def from_timelines(self, columns: Columns, rows: NDArray[np.intp], timelines: Sequence[Timed]) -> Likelihood:
        """From the whole energy curve."""
        durations_s = columns.column("duration_s")[rows]
        fits = [self.fit(t.energy[None], durations_s[i : i + 1])[0] if len(t.energy) else np.nan
                for i, t in enumerate(timelines)]  # fmt: skip
        return Likelihood.filled(np.array(fits, np.float32), SHAPE_BASE)

    def evidence(self, track: Measured) -> Verdict:
        """The verdict follows from the numbers that are shown; the confidence from the whole curve."""
        energy, duration_s = track.timeline.energy, track.duration_s
        p = float(self.fit(energy[None], np.array([duration_s]))[0]) if len(energy) else np.nan
        if np.isnan(p):
            return Verdict("too short to measure", 0.0, None)
        low, high = (self.place or Place(start=0, end=1)).span_s(duration_s)
        hop_s = track.timeline.energy_hop_s
        first, count = min(int(low / hop_s), len(energy) - 1), max(1, round((high - low) / hop_s))
        part = energy[first : first + count].astype(np.float64)
        if self.shape in ("rises", "falls"):
            quarter = max(1, len(part) // 4)
            before, after = float(part[:quarter].mean()), float(part[-quarter:].mean())
            shown = f"energy {before:.2f} in the first quarter, {after:.2f} in the last ({_CHANGE} apart is a change)"
            margin = (after - before if self.shape == "rises" else before - after) - _CHANGE
        elif self.shape in ("quiet", "loud"):
            level = 0.5 if self.place is None else float(energy.mean())
            beside = f"({self.shape}: {'above' if self.shape == 'loud' else 'below'} {level})"
            shown = f"energy {part.mean():.2f} {beside if self.place is None else f'there, {level:.2f} in the track'}"
            margin = float(part.mean()) - level if self.shape == "loud" else level - float(part.mean())
        else:
            shown = f"energy varies by {part.std():.2f} around {part.mean():.2f} (steady: below {_STEADY})"
            margin = float(part.std()) - _STEADY if self.shape == "varies" else _STEADY - float(part.std())
        met = None if abs(margin) < 0.02 else margin > 0
        spans = (Span(start_s=low, end_s=high, confidence=p),) if self.place and high > low else ()
        return Verdict(shown, max(p, 1 - p), met, spans)


def _frames(place: Place | None, duration_s_N: FloatArray, count: int) -> tuple[Counts, Counts]:
    """First and last+1 of the frames that are in the place, at least one each [shape=(N,) each]."""
    if place is None:
        return np.zeros(len(duration_s_N), np.int64), np.full(len(duration_s_N), count)
    start, end = place.spans_s(duration_s_N)
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
