"""Metre: one of some time signatures."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from solfa.constraints.base import Constraint, Likelihood, Measured, Tracks, Verdict, chosen, judged
from solfa.core.types import FloatArray

# Share of tracks in each metre over popular and classical corpora together; used only where nothing was measured.
METRE_RATE = {"4/4": 0.72, "3/4": 0.12, "6/8": 0.06, "2/4": 0.05, "12/8": 0.02, "5/4": 0.01, "7/8": 0.01}
_ALIKE = ({"4/4", "2/4", "2/2"}, {"3/4", "6/8", "3/8"}, {"6/8", "12/8"}, {"5/4", "5/8"}, {"7/4", "7/8"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Metre(Constraint):
    """Any one of these metres ("4/4"); "in five" is ("5/4", "5/8"), a waltz ("3/4",)."""

    topic: ClassVar[str] = "metre"

    metres: tuple[str, ...]

    def asked(self) -> str:
        """The time signatures."""
        return " or ".join(self.metres)

    def fit(self, metre: str) -> float:
        """1 for an asked metre, 0.5 for another way to write the same pulse (2/4 for 4/4, 6/8 for 3/4), else 0."""
        if metre in self.metres:
            return 1.0
        return 0.5 if any(metre in group and group & set(self.metres) for group in _ALIKE) else 0.0

    @property
    def base(self) -> float:
        """Share of tracks in one of the asked metres."""
        return float(np.clip(sum(METRE_RATE.get(m, 0.005) for m in self.metres), 0.01, 0.9))

    def from_columns(self, tracks: Tracks) -> Likelihood:
        """From the measured metre and its alternatives."""
        columns = tracks.attributes()
        metres_NA2 = columns.column("metre")
        codes = metres_NA2[..., 0].astype(np.intp) * 256 + metres_NA2[..., 1]
        fit_of = np.zeros(1 << 16, np.float32)
        for code in np.flatnonzero(np.bincount(codes.ravel(), minlength=1 << 16)).tolist():
            fit_of[code] = self.fit(f"{code // 256}/{code % 256}")
        fits: FloatArray = fit_of[codes]
        return chosen(columns, "metre", fits, self.base)

    def evidence(self, track: Measured) -> Verdict:
        """Undecided where the measured metre is another way to write what is asked."""
        choices = [(f"{beats}/{unit}", c) for (beats, unit), c in track.choices("metre") if unit]
        return judged(
            choices, str, lambda v: v in self.metres, lambda v: "another way to write it" if self.fit(v) else ""
        )
