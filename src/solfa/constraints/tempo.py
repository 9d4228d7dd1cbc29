"""Tempo between two bounds."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from solfa.constraints.base import Constraint, Likelihood, Measured, Tracks, Verdict, chosen, judged, range_words
from solfa.core.types import FloatArray

# What stands for "no bound": finite, so that it survives JSON.
SLOWEST_BPM, FASTEST_BPM = 20.0, 400.0
_SIGMA = 0.025  # log2; 2 % off still counts by half: what listeners just notice, and trackers err
_NEAR = 0.025  # log2: 2 % beyond a bound is near enough to be undecided, and met where one number was asked
_OCTAVE = 0.4  # what half and double tempo are worth where words name a feel
_OCTAVES = 1.7  # nearly all music is between 55 and 180 BPM
_FELT_BPM = 60.0, 160.0  # half and double tempo are another way to count only where people readily tap


@dataclass(frozen=True, kw_only=True, slots=True)
class Tempo(Constraint):
    """Tempo between two bounds in BPM; outside them the fit decreases smoothly on a log scale.

    A single number has equal bounds; an open end is ``SLOWEST_BPM`` or ``FASTEST_BPM``. ``exact`` is False
    where the words name a feel ("slow"), whose half and double tempo count as well.
    """

    topic: ClassVar[str] = "tempo"

    low_bpm: float
    high_bpm: float
    exact: bool = True

    def asked(self) -> str:
        """The range in BPM."""
        feel = "" if self.exact else " (half or double counts a little)"
        return range_words(self.low_bpm, self.high_bpm, SLOWEST_BPM, FASTEST_BPM, "BPM") + feel

    def fit(self, bpm: NDArray[np.floating]) -> FloatArray:
        """Degree 0..1 to which tempi are in the range [same shape]; 1 inside, Gaussian in log tempo outside, 0 for NaN.

        For a feel half and double tempo count a little, because listeners disagree about the octave.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            value = np.log2(bpm)
        low, high = math.log2(max(self.low_bpm, 1.0)), math.log2(max(self.high_bpm, 1.0))
        outside = np.maximum(0.0, np.maximum(low - value, value - high))
        fit = np.exp(-0.5 * (outside / (_SIGMA if self.exact else 4 * _SIGMA)) ** 2)
        fitted: FloatArray = np.nan_to_num(fit, nan=0.0).astype(np.float32)
        if not self.exact:
            slowest, fastest = _FELT_BPM
            other = [np.where((bpm * by >= slowest) & (bpm * by <= fastest), bpm * by, np.nan) for by in (0.5, 2.0)]
            octaves = [replace(self, exact=True).fit(value) for value in other]
            fitted = np.maximum(fitted, _OCTAVE * np.maximum(*octaves))
        return fitted

    @property
    def base(self) -> float:
        """Base rate: share of tracks that are in the range by chance."""
        octaves = math.log2(max(self.high_bpm, 1.0) / max(self.low_bpm, 1.0)) + 2 * _SIGMA
        return float(np.clip(octaves / _OCTAVES, 0.03, 0.8))

    def from_columns(self, tracks: Tracks) -> Likelihood:
        """From the measured tempo and its alternatives."""
        columns = tracks.attributes()
        return chosen(columns, "tempo", self.fit(columns.column("tempo_bpm")), self.base)

    def evidence(self, track: Measured) -> Verdict:
        """Undecided just outside, and where half or double the tempo is between two bounds."""
        choices = [(round(v, 1), c) for v, c in track.choices("tempo_bpm") if not math.isnan(v)]
        is_point = self.low_bpm == self.high_bpm
        bounded = self.low_bpm > SLOWEST_BPM and self.high_bpm < FASTEST_BPM  # half of all tempi is "under 120"

        def beyond(bpm: float) -> float:
            """How far outside the range, in octaves."""
            return max(0.0, math.log2(max(self.low_bpm, 1.0) / bpm), math.log2(bpm / self.high_bpm))

        def otherwise(bpm: float) -> str:
            if beyond(bpm) <= _NEAR:
                return "just outside"
            octaves = (("in double time", 2.0), ("in half time", 0.5))
            slowest, fastest = _FELT_BPM if bounded or not self.exact else (math.inf, 0.0)
            fitting = ((bpm * by, name) for name, by in octaves if slowest <= bpm * by <= fastest)
            return next((f"{value:.1f} {name}" for value, name in fitting if beyond(value) == 0), "")

        def show(bpm: float) -> str:
            near = is_point and abs(bpm - self.low_bpm) > 0.05 and beyond(bpm) <= _NEAR
            return f"{bpm:.1f} BPM{', within 2 %' if near else ''}"

        return judged(choices, show, lambda v: beyond(v) <= (_NEAR if is_point else 0.0), otherwise)
