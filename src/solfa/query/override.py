"""Flags that replace what the parser read: ``--tempo 105..115 --key "F major" --chords Am-F-C-G --avoid drums``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TypeVar

from solfa.constraints import Chords, Constraint, Duration, InKey, Metre, Tempo
from solfa.core.errors import InputError
from solfa.query import chords as chords_room
from solfa.query import duration as duration_room
from solfa.query import key as key_room
from solfa.query import metre as metre_room
from solfa.query import roman, scope
from solfa.query import tempo as tempo_room
from solfa.query.lexis import patterns_table
from solfa.query.parsed import Query
from solfa.query.parser import parse
from solfa.query.quantity import quantities
from solfa.query.source import Source, Token

C = TypeVar("C", bound=Constraint)
_LINKS = ("or", "and", "in", "the")


def _only(kind: type[C], source: Source, expected: str, got: str, *, after: int = 0) -> tuple[C, ...]:
    """The constraints of one type, in order, if the whole text was understood."""
    found = [(m, m.constraint) for m in source.mentions if isinstance(m.constraint, kind)]
    row = scope.items(source)
    left = [t for t in row if isinstance(t, Token) and t.is_word and t.start >= after and t.word not in _LINKS]
    if not found or left or source.unknown:
        reason = f" {source.notes[-1]}." if source.unknown else ""
        raise InputError(f"not understood: {got!r}.{reason} Expected {expected}.")
    scope.alternatives(row)
    found.sort(key=lambda pair: pair[0].start)
    return tuple(replace(constraint, any_of=mention.any_of) for mention, constraint in found)


def parse_tempo(text: str) -> tuple[Tempo, ...]:
    """A tempo as on the command line: a number, a range, or words.

    Raises
    ------
    InputError
        If the text is no tempo.

    >>> parse_tempo("105..115")[0].low_bpm, parse_tempo("andante")[0].high_bpm
    (105.0, 108.0)
    """
    source = Source.of(text)
    for quantity in list(quantities(source)):
        if quantity.unit == "":
            quantity = replace(quantity, unit="bpm")
        tempo_room.from_quantity(source, quantity)
    if not source.mentions:
        tempo_room.find_words(source)
    return _only(Tempo, source, "a tempo such as 110, 105..115, '<120', '~96' or andante", text)


def parse_key(text: str) -> tuple[InKey, ...]:
    """A key as on the command line: "F", "F# minor", "Am", "8A", "minor", "F major or D minor".

    Raises
    ------
    InputError
        If the text is no key.

    >>> parse_key("F")[0].tonic, parse_key("8A")[0].mode
    (5, 'minor')
    """
    expected = "a key such as F, 'F major', F#m, 8A, minor or 'C major or A minor'"
    cleaned = text.strip().replace("|", " or ")
    lead = "" if cleaned.lower() in ("major", "minor") else "key "
    source = Source.of(f"{lead}{cleaned[:1].upper() if len(cleaned) == 1 else cleaned[:1]}{cleaned[1:]}")
    key_room.find(source)
    found = _only(InKey, source, expected, text)
    return tuple(replace(c, text=c.text.removeprefix("key ")) for c in found)


def parse_metre(text: str) -> tuple[Metre, ...]:
    """A metre as on the command line: "3/4", "waltz", "five", "3/4 or 6/8".

    Raises
    ------
    InputError
        If the text is no metre.

    >>> parse_metre("five")[0].metres
    ('5/4', '5/8')
    """
    cleaned = text.strip().replace("|", " or ")
    if cleaned.isalnum() and (cleaned.isdigit() or cleaned.lower() in patterns_table()["number_word"]):
        cleaned = f"in {cleaned}"
    source = Source.of(cleaned)
    metre_room.find(source)
    found = _only(Metre, source, "a metre such as 4/4, 6/8, waltz, five or odd metre", text)
    merged = tuple(dict.fromkeys(m for c in found for m in c.metres))
    return (Metre(text=text.strip(), metres=merged),)


def parse_chords(text: str, keys: Iterable[InKey] = ()) -> tuple[Chords, ...]:
    """A chord sequence as on the command line, in any notation; Roman numerals resolve against ``keys``.

    Raises
    ------
    InputError
        If the text is no chord sequence.

    >>> [str(c) for c in parse_chords("Am-F-C-G")[0].chords]
    ['A:min', 'F:maj', 'C:maj', 'G:maj']
    """
    source = Source.of(f"chords {text}")
    roman.find_named(source)
    roman.find(source)
    chords_room.find(source)
    roman.settle(source, keys)
    expected = "chords such as Am-F-C-G, 'Dm7 G7 Cmaj7', ii-V-I or '12-bar blues'"
    found = _only(Chords, source, expected, text, after=len("chords"))
    return tuple(replace(c, text=text.strip()) for c in found)


def parse_duration(text: str) -> tuple[Duration, ...]:
    """A length as on the command line: "2..4 min", "<180 s", "3:30", "about 5 minutes".

    Raises
    ------
    InputError
        If the text is no length of time.

    >>> parse_duration("<3 min")[0].high_s
    180.0
    """
    source = Source.of(text)
    for quantity in list(quantities(source)):
        if quantity.unit == "":
            quantity = replace(quantity, unit="s")
        duration_room.from_quantity(source, quantity, length_only=True)
    if not source.mentions:
        duration_room.find(source)
    return _only(Duration, source, "a length such as '3:30', '2..4 min', '<90 s' or 'about 5 minutes'", text)


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

    Raises
    ------
    InputError
        If a value cannot be understood.

    >>> override(parse("piano, 110 bpm"), tempo="").constraints[0].text
    'piano'
    """
    query = _without(query, [words.casefold().strip() for words in drop])
    constraints = list(query.constraints)
    plan: list[tuple[str | None, type[Constraint], Callable[[str], tuple[Constraint, ...]]]] = [
        (tempo, Tempo, parse_tempo),
        (key, InKey, parse_key),
        (metre, Metre, parse_metre),
        (duration, Duration, parse_duration),
    ]
    first_group = max((c.any_of for c in constraints), default=0)
    for value, kind, read in plan:
        if value is None:
            continue
        constraints = [c for c in constraints if not isinstance(c, kind)]
        if value.strip():
            new = read(value)
            constraints += [replace(c, any_of=c.any_of + first_group if c.any_of else 0) for c in new]
            first_group = max((c.any_of for c in constraints), default=0)
    keys = [c for c in constraints if isinstance(c, InKey)]
    if chords is not None:
        constraints = [c for c in constraints if not isinstance(c, Chords)]
        constraints += parse_chords(chords, keys) if chords.strip() else ()
    elif key is not None:
        constraints = [_rekeyed(c, keys) for c in constraints]
    unwanted = list(query.negated_phrases)
    for shunned in map(parse, avoid):
        constraints += [replace(c, negated=True, any_of=0) for c in shunned.constraints]
        unwanted += shunned.phrases
    return replace(query, constraints=tuple(dict.fromkeys(constraints)), negated_phrases=tuple(dict.fromkeys(unwanted)))


def _without(query: Query, dropped: list[str]) -> Query:
    """The query without the constraints and phrases that hold any of these words."""
    for words in dropped:
        if not words or words not in query.text.casefold():
            raise InputError(f"cannot drop {words!r}: the query does not hold it. Expected words of {query.text!r}.")

    def kept(texts: Iterable[str]) -> tuple[str, ...]:
        return tuple(t for t in texts if not any(words in t.casefold() for words in dropped))

    constraints = tuple(c for c in query.constraints if kept([c.text]))
    return replace(query, constraints=constraints, phrases=kept(query.phrases),
                   negated_phrases=kept(query.negated_phrases), notes=kept(query.notes))  # fmt: skip


def _rekeyed(constraint: Constraint, keys: list[InKey]) -> Constraint:
    if not isinstance(constraint, Chords) or not roman.is_progression(constraint.text):
        return constraint
    new = parse_chords(constraint.text, keys)[0]
    return replace(constraint, chords=new.chords, transposable=new.transposable)
