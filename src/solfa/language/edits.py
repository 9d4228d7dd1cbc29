"""Edits of a query that stands: what is said later replaces what it contradicts, by kind, and the rest stays."""

from dataclasses import replace

from solfa.constraints import Constraint, Dynamics, InKey, Presence, Tempo
from solfa.core.theory import KEYS
from solfa.core.vocabulary import lineage
from solfa.query import Query
from solfa.query.lexis import patterns_table
from solfa.query.override import cut, without


def merged(query: Query, new: Query, *, by_kind: bool = False) -> Query:
    """The query with what ``new`` asks in place of what it ``replaces``.

    >>> from solfa.query import parse
    >>> both = merged(parse("slow piano with strings"), parse("fast, no strings"))
    >>> [c.words() for c in both.constraints], both.phrases
    (['piano', '120-200 BPM (half or double counts a little)', 'no strings'], ('piano', 'fast'))
    """
    gone = [old for old in query.constraints if any(replaces(one, old, by_kind=by_kind) for one in new.constraints)]
    query = without(query, gone, new.negated_phrases)
    groups = max((c.any_of for c in query.constraints), default=0)
    added = [replace(c, any_of=c.any_of + groups if c.any_of else 0) for c in new.constraints]
    unwanted = [p for p in query.negated_phrases if p.casefold() not in map(str.casefold, new.phrases)]
    said = cut(new.text, [c.text for c in new.constraints if c.negated])
    return Query(
        text=", ".join(filter(None, (query.text, said))), constraints=(*query.constraints, *added),
        phrases=tuple(dict.fromkeys((*query.phrases, *new.phrases))),
        negated_phrases=tuple(dict.fromkeys((*unwanted, *new.negated_phrases))),
        words=" ".join(dict.fromkeys(f"{query.words} {new.words}".split())),
        unknown=(*query.unknown, *new.unknown), spelling=(*query.spelling, *new.spelling),
        notes=tuple(dict.fromkeys((*query.notes, *new.notes))),
    )  # fmt: skip


def replaces(new: Constraint, old: Constraint, *, by_kind: bool = False) -> bool:
    """Whether what is said now takes the place of what was said before.

    There is one tempo, key, metre, length and chord sequence; a thing that is wanted replaces its exclusion and its
    opposite mood, and the other way round. With ``by_kind`` a new instrument, genre or mood replaces all of its kind.
    """
    if type(new) is not type(old):
        return False
    if isinstance(new, Presence) and isinstance(old, Presence):
        if new.negated != old.negated:
            wide, narrow = (new, old) if new.negated else (old, new)
            return wide.place == narrow.place and wide.concept in lineage(narrow.concept)
        opposite = [new.concept, old.concept] in patterns_table()["opposite_moods"] or (
            [old.concept, new.concept] in patterns_table()["opposite_moods"])  # fmt: skip
        same = new.concept == old.concept and new.place == old.place
        return same or (not new.negated and (opposite or (by_kind and new.kind == old.kind)))
    if isinstance(new, Dynamics) and isinstance(old, Dynamics):
        return new.place == old.place
    if isinstance(new, Tempo) and isinstance(old, Tempo) and new.negated:
        return not old.negated and old.low_bpm < new.high_bpm and new.low_bpm < old.high_bpm
    if isinstance(new, InKey) and isinstance(old, InKey) and new.negated:
        return not old.negated and all(replace(new, negated=False).fits(key) for key in KEYS if old.fits(key))
    return not new.negated or (not old.negated and new.asked() == old.asked())
