"""Stretches of time: labelled events, and arithmetic on spans (start_s, end_s)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from solfa.core.errors import InputError


@dataclass(frozen=True, slots=True)
class Event:
    """A sound with a label, from ``onset_s`` to ``offset_s``.

    Raises
    ------
    InputError
        If times are not finite or the offset does not lie after the onset, or the onset before 0.
    """

    onset_s: float
    offset_s: float
    label: str

    def __post_init__(self) -> None:
        if not (math.isfinite(self.onset_s) and math.isfinite(self.offset_s) and 0 <= self.onset_s < self.offset_s):
            raise InputError(
                f"an event must have 0 <= onset < offset in seconds, got {self.onset_s} to {self.offset_s} "
                f"({self.label!r})."
            )


def merged(segments_s: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Segments with overlapping or touching ones made one, in order.

    >>> merged([(2.0, 3.0), (0.0, 1.0), (0.5, 1.5)])
    [(0.0, 1.5), (2.0, 3.0)]
    """
    out: list[tuple[float, float]] = []
    for start, end in sorted(segments_s):
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(end, out[-1][1]))
        else:
            out.append((start, end))
    return out
