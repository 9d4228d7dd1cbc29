"""The phrases of timed labels: everyday sounds, and what happens in music, as one bank (``phrases.toml``).

What makes data sets names a sound or an event as the table does, and training draws its negatives from the same bank.
"""

from functools import cache
from itertools import product
from typing import Any

from solfa.core.files import table_of
from solfa.core.vocabulary import concept, concepts, is_other_source
from solfa.datasets.bank import Cluster, PhraseBank

_SLOT = "{x}"
_NAMES = 4  # names of an instrument that stand for its playing; the later ones of the vocabulary are far-fetched


@cache
def table() -> dict[str, Any]:
    """All of ``phrases.toml``."""
    return table_of("solfa.datasets", "phrases.toml")


def event_phrase(kind: str, instrument: str = "") -> str:
    """What a musical event is called: a kind of the table, of an instrument or voice where the kind takes one.

    >>> event_phrase("solo", "rhodes"), event_phrase("fill")
    ('Rhodes solo', 'drum fill')
    """
    phrase = str(table()["kinds"][kind]["phrase"])
    return phrase.replace(_SLOT, concept(instrument).title) if instrument else phrase


@cache
def music_bank() -> PhraseBank:
    """All clusters of music: every kind of event, for every instrument and voice where it takes one.

    ``related`` holds the same event of an instrument that is a case of this one or the other way round: a solo of a
    guitar may be one of an electric guitar, so neither is a false answer to the other.
    """
    sources = [c for c in concepts().values() if c.kind in ("instrument", "voice")]
    made = []
    for kind, row in table()["kinds"].items():
        if _SLOT not in row["phrase"]:
            made.append(Cluster(phrase=row["phrase"], alternatives=tuple(row["say"])))
            continue
        for source in sources:
            said = [text.replace(_SLOT, source.title) for text in row["say"]]
            said += source.names[1:_NAMES] if kind == "plays" else ()
            kin = [c.id for c in sources if c != source and not is_other_source(c.id, source.id)]
            made.append(
                Cluster(
                    phrase=event_phrase(kind, source.id),
                    alternatives=tuple(dict.fromkeys(said)),
                    related=tuple(event_phrase(kind, other) for other in kin),
                )
            )
    return PhraseBank(made)


@cache
def sound_bank() -> PhraseBank:
    """Clusters of sounds, joined with those of music: a drum hit and a drum that enters are of one bank."""
    made = {phrase: (row["say"], row.get("near", ())) for phrase, row in table()["clusters"].items()}
    for family in table()["families"]:
        words = family.get("words", {})
        for values in product(*(dict.fromkeys(row.values()) for row in words.values())):
            said = dict(zip(words, values, strict=True))
            made[family["phrase"].format(**said)] = ([s.format(**said) for s in family["say"]], family["near"])
    sounds = (Cluster(phrase=p, alternatives=tuple(say), related=tuple(near)) for p, (say, near) in made.items())
    return PhraseBank(sounds).merged(music_bank())


def bank_of(labels: set[str], bank: PhraseBank | None = None) -> PhraseBank:
    """A bank, by default that of the table, with a cluster for each label it does not know, in any case."""
    bank = sound_bank() if bank is None else bank
    new = {label.strip().casefold(): label for label in sorted(labels) if not bank.clusters_of(label)}
    return bank.merged(PhraseBank(Cluster(phrase=label) for label in new.values()))
