"""Stretches of time with a label, and arithmetic on spans (start_s, end_s)."""

from collections.abc import Sequence
from typing import NamedTuple


class Segment(NamedTuple):
    """Something that holds, or sounds, from one time to another: 0 <= ``start_s`` < ``end_s``."""

    start_s: float
    end_s: float
    label: str


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
