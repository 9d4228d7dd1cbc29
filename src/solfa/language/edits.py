"""Edits of a query that stands: what is said later replaces what it contradicts, by kind, and the rest stays."""

import re
from collections.abc import Collection, Iterable
from dataclasses import replace

from solfa.constraints import Constraint, Dynamics, Presence, Tempo
from solfa.core.vocabulary import lineage
from solfa.query.lexis import patterns_table, stop_words
from solfa.query.parser import Query


def merged(query: Query, new: Query, *, by_kind: bool = False) -> Query:
    """The query with what ``new`` asks: one tempo, key, metre, length and chord sequence, the latest.

    Something that is wanted replaces its exclusion and its opposite mood, and the other way round. With ``by_kind`` a
    new instrument, genre or mood replaces all of its kind.

    >>> from solfa.query import parse
    >>> both = merged(parse("slow piano with strings"), parse("fast, no strings"))
    >>> [c.words() for c in both.constraints], both.phrases
    (['piano', '120-200 BPM (half or double counts a little)', 'no strings'], ('piano', 'fast'))
    """
    gone = [old for old in query.constraints if any(replaces(one, old, by_kind=by_kind) for one in new.constraints)]
    query = without(query, gone, new.negated_phrases)
    groups = max((c.any_of for c in query.constraints), default=0)
    added = [replace(c, any_of=c.any_of + groups if c.any_of else 0) for c in new.constraints]
    said = cut(new.text, [c.text for c in new.constraints if c.negated])
    unwanted = [p for p in query.negated_phrases if p.casefold() not in map(str.casefold, new.phrases)]
    return Query(
        text=", ".join(filter(None, (query.text, said))),
        constraints=(*query.constraints, *added),
        phrases=tuple(dict.fromkeys((*query.phrases, *new.phrases))),
        negated_phrases=tuple(dict.fromkeys((*unwanted, *new.negated_phrases))),
        words=" ".join(dict.fromkeys(f"{query.words} {new.words}".split())),
        unknown=(*query.unknown, *new.unknown),
        notes=tuple(dict.fromkeys((*query.notes, *new.notes))),
    )


def without(query: Query, gone: Collection[Constraint], words: Iterable[str] = ()) -> Query:
    """The query without these constraints, the words that they were read from, and further ``words``."""
    kept = tuple(c for c in query.constraints if c not in gone)
    said = {c.text for c in kept}
    lost = [c.text for c in gone if c.text not in said] + [*words]
    if not lost:
        return replace(query, constraints=kept)
    unwanted = (p for p in query.negated_phrases if not any(_holds(text, p) for text in lost))
    return Query(
        text=cut(query.text, lost),
        constraints=kept,
        phrases=tuple(filter(None, (cut(phrase, lost) for phrase in query.phrases))),
        negated_phrases=tuple(unwanted),
        words=cut(query.words, [word for text in lost for word in re.findall(r"\w+", text)]),
        unknown=tuple(u for u in query.unknown if not any(_holds(text, u) for text in lost)),
        notes=tuple(n for n in query.notes if not any(f"'{text}'" in n for text in lost)),
    )


def replaces(new: Constraint, old: Constraint, *, by_kind: bool = False) -> bool:
    """Whether what is said now takes the place of what was said before."""
    if isinstance(new, Presence) and isinstance(old, Presence):
        if new.concept == old.concept and new.place == old.place:
            return True
        if new.negated != old.negated:
            wide, narrow = (new, old) if new.negated else (old, new)
            return wide.place == narrow.place and wide.concept in lineage(narrow.concept)
        if new.negated:
            return False
        return (by_kind and new.kind == old.kind) or {new.concept, old.concept} in _opposites()
    if isinstance(new, Dynamics) and isinstance(old, Dynamics):
        return new.place == old.place
    if type(new) is not type(old) or isinstance(new, Presence | Dynamics):
        return False
    if not new.negated:
        return True
    if isinstance(new, Tempo) and isinstance(old, Tempo):
        return not old.negated and old.low_bpm < new.high_bpm and new.low_bpm < old.high_bpm
    return not old.negated and new.asked() == old.asked()


def cut(text: str, said: Iterable[str]) -> str:
    """A text without words that were said in it, nor the small words and commas that are then left at its ends.

    >>> cut("slow piano, in D minor", ["in D minor"])
    'slow piano'
    """
    shorter = text
    for words in said:
        pattern = r"\s+".join(map(re.escape, words.split()))
        shorter = re.sub(rf"(?i)(?<!\w){pattern}(?!\w)", " ", shorter) if pattern else shorter
    if shorter == text:
        return text
    parts = [part.split() for part in re.split(r"[,;]", shorter)]
    for part in parts:
        while part and part[0].casefold() in stop_words():
            part.pop(0)
        while part and part[-1].casefold() in stop_words():
            part.pop()
    return ", ".join(" ".join(part) for part in parts if part)


def _holds(text: str, phrase: str) -> bool:
    return phrase.casefold() in text.casefold()


def _opposites() -> list[set[str]]:
    return [set(pair) for pair in patterns_table()["opposite_moods"]]
