"""Shapes of the energy: "quiet", "loud", "builds up", "fades out", "steady volume", "loud-quiet-loud"."""

from solfa.constraints import Dynamics, Place
from solfa.core.vocabulary import concepts
from solfa.query.concepts import concept_named
from solfa.query.lexis import patterns_table, whole
from solfa.query.source import Mention, Source


def find(source: Source) -> None:
    """Finds every shape; "drums fade out" is about the drums and left to ``place``."""
    for name, (shape, *span) in patterns_table()["shape"].items():
        for match in source.matches(whole(f"<<{name}>>")):
            noun = concept_named(source.before(match.start()).rstrip().rpartition(" ")[2])
            audible = source.audible_before(match.start()) or (
                noun and concepts()[noun].kind in ("instrument", "voice")
            )
            if name in ("fades_in", "fades_out") and audible:
                continue
            place = Place(start=span[0], end=span[1]) if span else None
            constraint = Dynamics(text=source.cut(*match.span()), shape=shape, place=place)
            source.add(Mention(*match.span(), "dynamics", constraint, spoken=True))
