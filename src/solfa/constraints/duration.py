"""Length of the track."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from solfa.constraints.base import Constraint, Measured, Tracks, Unbased, Verdict, range_words
from solfa.core.text import clock
from solfa.core.types import FloatArray

LONGEST_S = 86400.0  # stands for "no bound": finite, so that it survives JSON


@dataclass(frozen=True, kw_only=True, slots=True)
class Duration(Constraint):
    """Length of the track in seconds; an open end is 0 or ``LONGEST_S``."""

    topic: ClassVar[str] = "duration"

    low_s: float
    high_s: float

    def asked(self) -> str:
        """The range in minutes and seconds."""
        return range_words(self.low_s, self.high_s, 0.0, LONGEST_S, "length", clock)

    def fit(self, duration_s: NDArray[np.floating]) -> FloatArray:
        """1 inside the range, decreasing over 4 % of the bound outside [same shape]."""
        below = np.maximum(0.0, self.low_s - duration_s) / max(self.low_s, 1.0)
        above = np.maximum(0.0, duration_s - self.high_s) / max(self.high_s, 1.0)
        fit: FloatArray = np.exp(-0.5 * ((below + above) / 0.02) ** 2).astype(np.float32)
        return fit

    def from_columns(self, tracks: Tracks) -> Unbased:
        """From the exact length."""
        return Unbased(self.fit(tracks.attributes().column("duration_s")), 0.3)

    def evidence(self, track: Measured) -> Verdict:
        """Compared in the whole seconds that are shown."""
        seconds = round(track.duration_s)
        return Verdict(clock(seconds), 1.0, round(self.low_s) <= seconds <= round(self.high_s))
