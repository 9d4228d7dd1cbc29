"""Shapes of the energy: "quiet", "loud", "builds up", "fades out", "steady volume", "loud-quiet-loud"."""

from __future__ import annotations

from typing import Literal

from solfa.core.query import Dynamics, Place
from solfa.query.lexis import whole
from solfa.query.source import Mention, Source

Shape = Literal["quiet", "loud", "rises", "falls", "steady", "varies"]

# Lists of patterns.toml, the surest first; a place is implied by some.
_SHAPES: tuple[tuple[str, Shape, Place | None], ...] = (
    ("fades_in", "rises", Place(start=0.0, end=0.15)),
    ("fades_out", "falls", Place(start=0.85, end=1.0)),
    ("varies", "varies", None),
    ("steady", "steady", None),
    ("rises", "rises", None),
    ("falls", "falls", None),
    ("big_end", "loud", Place(start=0.8, end=1.0)),
    ("quiet_end", "quiet", Place(start=0.85, end=1.0)),
    ("drop", "rises", None),
    ("peak", "loud", None),
    ("quiet", "quiet", None),
    ("loud", "loud", None),
)


def find(source: Source) -> None:
    """Finds every shape; "drums fade out" is about the drums and left to ``place``."""
    for name, shape, place in _SHAPES:
        for match in source.matches(whole(f"<<{name}>>")):
            if name in ("fades_in", "fades_out") and source.heard_before(match.start()):
                continue
            constraint = Dynamics(text=source.cut(*match.span()), shape=shape, place=place)
            source.add(Mention(*match.span(), "dynamics", constraint, spoken=True))
