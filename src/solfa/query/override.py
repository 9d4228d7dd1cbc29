"""Flags that replace what the parser read: ``--tempo 105..115 --key "F major" --chords Am-F-C-G --avoid drums``."""

import re
from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import TypeVar

from solfa.constraints import FASTEST_BPM, SLOWEST_BPM, Chords, Constraint, Duration, InKey, Metre, Tempo
from solfa.core.errors import InputError
from solfa.query import chords, duration, key, metre, roman, scope, tempo
from solfa.query.lexis import patterns_table, stop_words
from solfa.query.parser import Query, parse
from solfa.query.quantity import quantities
from solfa.query.source import Source, Token

C = TypeVar("C", bound=Constraint)
_BESIDE = {"slower": (0.6, 0.95), "faster": (1.05, 1.65)}  # of the tempo of an example
_LINKS = ("or", "and", "in", "the")
_LEADS: dict[type[Constraint], str] = {InKey: "key ", Chords: "chords "}  # what a short value is read after
_EXPECTED: dict[type[Constraint], str] = {
    Tempo: "a tempo such as 110, 105..115, '<120', '~96' or andante",
    InKey: "a key such as F, 'F major', F#m, 8A, minor or 'C major or A minor'",
    Metre: "a metre such as 4/4, 6/8, waltz, five or odd metre",
    Chords: "chords such as Am-F-C-G, 'Dm7 G7 Cmaj7', ii-V-I or '12-bar blues'",
    Duration: "a length such as '3:30', '2..4 min', '<90 s' or 'about 5 minutes'",
}


def parse_value(kind: type[C], text: str, keys: Iterable[InKey] = ()) -> tuple[C, ...]:
    """What the value of a flag asks for, as constraints of a kind; Roman numerals resolve against ``keys``.

    Raises InputError if the text is not wholly a value of this kind.

    >>> parse_value(Tempo, "105..115")[0].low_bpm, parse_value(Metre, "five")[0].metres
    (105.0, ('5/4', '5/8'))
    >>> [str(c) for c in parse_value(Chords, "I-V", parse_value(InKey, "F major"))[0].chords]
    ['F:maj', 'C:maj']
    """
    cleaned, lead = text.strip(), _LEADS.get(kind, "")
    if kind is not Chords:
        cleaned = cleaned.replace("|", " or ")
    if kind is InKey and len(cleaned) == 1:
        cleaned = cleaned.upper()
    elif kind is InKey and cleaned.lower() in ("major", "minor"):
        lead = ""
    elif kind is Metre and (cleaned.isdigit() or cleaned.lower() in patterns_table()["number_word"]):
        lead = "in "
    source = Source.of(lead + cleaned)
    _detect(kind, source, keys)
    found = [(m, m.constraint) for m in source.mentions if isinstance(m.constraint, kind)]
    row = scope.items(source)
    left = [t for t in row if isinstance(t, Token) and t.is_word and t.start >= len(lead) and t.word not in _LINKS]
    if not found or left or source.unknown:
        reason = f": {source.notes[-1].partition(' was not understood: ')[2]}" if source.unknown else ""
        raise InputError(f"not understood: {text!r}{reason}. Expected {_EXPECTED[kind]}.")
    scope.alternatives(row)
    found.sort(key=lambda pair: pair[0].start)
    return tuple(replace(c, any_of=m.any_of, text=c.text.removeprefix(lead)) for m, c in found)


def _detect(kind: type[Constraint], source: Source, keys: Iterable[InKey]) -> None:
    if kind is InKey:
        key.find(source)
    elif kind is Metre:
        metre.find(source)
    elif kind is Chords:
        roman.find_named(source)
        roman.find(source)
        chords.find(source)
        roman.resolve_mentions(source, keys)
    else:
        for quantity in list(quantities(source)):
            if kind is Tempo:
                tempo.from_quantity(source, replace(quantity, unit=quantity.unit or "bpm"))
            else:
                duration.from_quantity(source, replace(quantity, unit=quantity.unit or "s"), length_only=True)
        if not source.mentions:
            (tempo.find_words if kind is Tempo else duration.find)(source)


def override(
    query: Query,
    *,
    tempo: str | None = None,
    key: str | None = None,
    metre: str | None = None,
    chords: str | None = None,
    duration: str | None = None,
    avoid: Iterable[str] = (),
    drop: Iterable[str] = (),
) -> Query:
    """The query with constraints replaced by flags; an empty string drops the constraints of that kind.

    ``avoid`` are further things not wanted, in words; ``drop`` are words of the query that nothing is to be read from.
    Roman numerals of the text follow a new key.

    Raises InputError if a value cannot be understood.

    >>> override(parse("piano, 110 bpm"), tempo="").constraints[0].text
    'piano'
    """
    query = _dropped(query, [words.casefold().strip() for words in drop])
    constraints = list(query.constraints)
    plan: dict[type[Constraint], str | None] = {Tempo: tempo, InKey: key, Metre: metre, Duration: duration}
    first_group = max((c.any_of for c in constraints), default=0)
    for kind, value in plan.items():
        if value is None:
            continue
        constraints = [c for c in constraints if not isinstance(c, kind)]
        if value.strip():
            new = parse_value(kind, value)
            constraints += [replace(c, any_of=c.any_of + first_group if c.any_of else 0) for c in new]
            first_group = max((c.any_of for c in constraints), default=0)
    keys = [c for c in constraints if isinstance(c, InKey)]
    if chords is not None:
        constraints = [c for c in constraints if not isinstance(c, Chords)]
        constraints += parse_value(Chords, chords, keys) if chords.strip() else ()
    elif key is not None:
        constraints = [_rekeyed(c, keys) for c in constraints]
    text = _said_with(query, constraints)
    unwanted = list(query.negated_phrases)
    for shunned in map(parse, avoid):
        constraints += [replace(c, negated=True, any_of=0) for c in shunned.constraints]
        unwanted += shunned.phrases
    return replace(
        query, text=text, constraints=tuple(dict.fromkeys(constraints)), negated_phrases=tuple(dict.fromkeys(unwanted))
    )  # fmt: skip


def _said_with(query: Query, constraints: list[Constraint]) -> str:
    """The text of a query with other constraints: without the words of those that went, with those of the new ones."""
    texts = [c.text for c in constraints]
    said = [c for c in constraints if c not in query.constraints and c.text not in query.text]
    new = [c.words() if isinstance(c, Tempo) else c.text for c in said]
    kept = cut(query.text, [c.text for c in query.constraints if c.text not in texts])
    return ", ".join(filter(None, (kept, *dict.fromkeys(new))))


def beside(query: Query, bpm: float) -> Query:
    """The query with "slower" and "faster" read beside the tempo of an example, in BPM; a comparison is left as it is.

    >>> [c.words() for c in beside(parse("a bit slower, with flute"), 130).constraints]
    ['78-124 BPM', 'flute']
    """
    constraints, notes = list(query.constraints), list(query.notes)
    for i, c in enumerate(constraints):
        how = re.search(r"slower|faster", c.text.casefold())
        if how is None or not isinstance(c, Tempo) or c.exact or c.negated:
            continue
        low, high = (float(round(bpm * share)) for share in _BESIDE[how[0]])
        constraints[i] = replace(c, low_bpm=max(low, SLOWEST_BPM), high_bpm=min(high, FASTEST_BPM), exact=True)
        said = f"'{c.text}' read as {constraints[i].words()}: the example has {bpm:.0f} BPM"
        notes = [said if note.startswith(f"'{c.text}' read as ") else note for note in notes]
    return replace(query, constraints=tuple(constraints), notes=tuple(notes))


def _dropped(query: Query, dropped: list[str]) -> Query:
    """The query without these words and the constraints that were read from any of them."""
    for words in dropped:
        if not words or words not in query.text.casefold():
            raise InputError(f"cannot drop {words!r}: not in the query. Expected words of {query.text!r}.")
    gone = [c for c in query.constraints if any(words in c.text.casefold() for words in dropped)]
    return without(query, gone, dropped)


def without(query: Query, gone: Collection[Constraint], words: Iterable[str] = ()) -> Query:
    """The query without these constraints, the words that they were read from, and further ``words``."""
    kept = tuple(c for c in query.constraints if c not in gone)
    lost = [*{c.text for c in gone} - {c.text for c in kept}, *words]
    held = " / ".join(lost).casefold()
    return replace(
        query, text=cut(query.text, lost), constraints=kept,
        phrases=tuple(filter(None, (cut(phrase, lost) for phrase in query.phrases))),
        negated_phrases=tuple(p for p in query.negated_phrases if p.casefold() not in held),
        words=cut(query.words, re.findall(r"\w+", held)),
        unknown=tuple(u for u in query.unknown if u.casefold() not in held),
        notes=tuple(n for n in query.notes if not any(f"'{text}'" in n for text in lost)),
    )  # fmt: skip


def cut(text: str, said: Iterable[str]) -> str:
    """A text without words that were said in it, nor the small words that are then left at its ends.

    >>> cut("slow piano, no drums, in D minor", ["in D minor"])
    'slow piano, no drums'
    """
    longest = sorted((words for words in said if words.strip()), key=len, reverse=True)
    pattern = "|".join(r"\s+".join(map(re.escape, words.split())) for words in longest)
    shorter = re.sub(rf"(?i)(?<!\w)(?:{pattern})(?!\w)", " \0 ", text) if pattern else text
    if shorter == text:
        return text
    parts = [part.split() for part in re.split(r"[,;]", shorter)]
    for part in (part for part in parts if "\0" in part):  # others keep theirs, such as "no drums"
        part[:] = [word for word in part if word != "\0"]
        for end in (0, -1):
            while part and part[end].casefold() in stop_words():
                part.pop(end)
    return ", ".join(" ".join(part) for part in parts if part)


def _rekeyed(constraint: Constraint, keys: list[InKey]) -> Constraint:
    if not isinstance(constraint, Chords) or not roman.is_progression(constraint.text):
        return constraint
    new = parse_value(Chords, constraint.text, keys)[0]
    return replace(constraint, chords=new.chords, transposable=new.transposable)
