"""Shapes of the energy: "quiet", "loud", "builds up", "fades out", "steady volume", "loud-quiet-loud"."""

from solfa.constraints import Dynamics, Place
from solfa.core.vocabulary import concepts
from solfa.query.concepts import concept_named
from solfa.query.lexis import Regexes, patterns_table, whole
from solfa.query.source import Mention, Source

regex = Regexes("dynamics")
_HEARD = ("instrument", "voice")


def find(source: Source) -> None:
    """Finds every shape; "drums fade out" is about the drums and left to ``place``."""
    for name, (shape, *span) in patterns_table()["shape"].items():
        for match in source.matches(whole(f"<<{name}>>")):
            noun = concept_named(source.before(match.start()).rstrip().rpartition(" ")[2])
            audible = source.audible_before(match.start()) or (noun and concepts()[noun].kind in _HEARD)
            if name in ("fades_in", "fades_out") and audible:
                continue
            place = Place(start=span[0], end=span[1]) if span else None
            constraint = Dynamics(text=source.cut(*match.span()), shape=shape, place=place)
            said = regex.of_part.search(source.before(match.start())) if name in ("quiet", "loud") else None
            thing = concept_named(said["thing"]) or concept_named(said["noun"]) if said else None
            cue = "part" if thing and concepts()[thing].kind in _HEARD else ""
            if cue:
                source.note(f"{source.quote(*match.span())}: how loud a part is by itself is compared as words only")
            source.add(Mention(*match.span(), "dynamics", constraint, spoken=True, cue=cue))
