"""The words for what happens in music: one phrase cluster for each kind of event and instrument.

The table is ``music_phrases.toml`` beside this file; instruments and voices are those of ``core.vocabulary``. Every
pipeline that names a musical event takes its phrase from here, so that equal things are called the same everywhere.
"""

from __future__ import annotations

from functools import cache

from solfa.core.errors import UnknownName
from solfa.core.files import table_of
from solfa.core.vocabulary import concept, concepts, is_other_source
from solfa.datasets.bank import Cluster, PhraseBank

_SLOT = "{x}"
_NAMES = 4  # names of an instrument that stand for its playing; the later ones of the vocabulary are far-fetched


@cache
def kinds() -> dict[str, dict[str, str | list[str]]]:
    """Every kind of event by name, as the table has it (``phrase``, ``alternatives``, ``span``)."""
    found: dict[str, dict[str, str | list[str]]] = table_of("solfa.datagen.scenes", "music_phrases.toml")["kinds"]
    return found


def instruments() -> tuple[str, ...]:
    """Ids of all instruments and voices that an event may be told of."""
    return tuple(c.id for c in concepts().values() if c.kind in ("instrument", "voice"))


@cache
def music_cluster(kind: str, instrument: str = "") -> Cluster:
    """The cluster of an event; its ``phrase`` is what a Clip says.

    ``related`` holds the same event of an instrument that is a case of this one or the other way round: a solo of a
    guitar may be one of an electric guitar, so neither is a false answer to the other. Raises UnknownName if there is
    no such kind, no such instrument, or an instrument where the kind takes none (or the reverse).

    >>> music_cluster("solo", "rhodes").phrase, music_cluster("fill").phrase
    ('Rhodes solo', 'drum fill')
    """
    if kind not in kinds():
        raise UnknownName("kind of musical event", kind, kinds())
    phrase, alternatives = str(kinds()[kind]["phrase"]), [str(a) for a in kinds()[kind]["alternatives"]]
    if _SLOT not in phrase:
        if instrument:
            raise UnknownName(f"instrument of {kind!r}, which takes none,", instrument, ())
        return Cluster(phrase=phrase, alternatives=tuple(alternatives))
    if instrument not in instruments():
        raise UnknownName("instrument or voice", instrument, instruments())
    title = concept(instrument).title
    said = [a.replace(_SLOT, title) for a in alternatives]
    if kind == "plays":
        said += concept(instrument).names[1:_NAMES]
    kin = [i for i in instruments() if i != instrument and not is_other_source(i, instrument)]
    return Cluster(
        phrase=phrase.replace(_SLOT, title),
        alternatives=tuple(dict.fromkeys(said)),
        related=tuple(phrase.replace(_SLOT, concept(i).title) for i in kin),
    )


@cache
def music_bank() -> PhraseBank:
    """All clusters of music: every kind, for every instrument where it takes one."""
    clusters = []
    for kind, entry in kinds().items():
        told_of = instruments() if _SLOT in str(entry["phrase"]) else ("",)
        clusters += [music_cluster(kind, i) for i in told_of]
    return PhraseBank(clusters)
