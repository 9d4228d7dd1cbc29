"""Shapes of the energy: "quiet", "loud", "builds up", "fades out", "steady volume", "loud-quiet-loud"."""

from __future__ import annotations

from solfa.constraints import Dynamics, Place
from solfa.core.vocabulary import concepts
from solfa.query.concepts import concept_named
from solfa.query.lexis import patterns_table, whole
from solfa.query.source import Mention, Source


def _instrument(word: str) -> bool:
    name = concept_named(word) if word.isalpha() else None
    return name is not None and concepts()[name].kind in ("instrument", "voice")


def find(source: Source) -> None:
    """Finds every shape; "drums fade out" is about the drums and left to ``place``."""
    for name, (shape, *span) in patterns_table()["shape"].items():
        for match in source.matches(whole(f"<<{name}>>")):
            noun = source.before(match.start()).rstrip().rpartition(" ")[2] or " "
            if name in ("fades_in", "fades_out") and (source.heard_before(match.start()) or _instrument(noun)):
                continue
            place = Place(start=span[0], end=span[1]) if span else None
            constraint = Dynamics(text=source.cut(*match.span()), shape=shape, place=place)
            source.add(Mention(*match.span(), "dynamics", constraint, spoken=True))
