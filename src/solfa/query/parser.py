"""Free text to a ``Query``: the order in which the detectors look, and the assembly of what they found.

Every constraint remembers the words it came from, so that the parse can be shown and overridden, and nothing is guessed
silently.
"""

from dataclasses import dataclass, replace

from solfa.constraints import Constraint, Tempo
from solfa.query import (
    chords,
    compare,
    concepts,
    cues,
    duration,
    dynamics,
    key,
    metre,
    phrases,
    place,
    roman,
    scope,
    tempo,
)
from solfa.query.quantity import Quantity, quantities, share_units
from solfa.query.source import Mention, Source


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """A parsed query.

    ``phrases`` is the rest that is compared by embedding (with negated phrases apart); ``words`` is what full-text
    search on tags sees; ``unknown`` is what was not understood and not compared either (said to the user). ``notes``
    say what was assumed ("'slow' read as 40-76 BPM") and why something is unknown; ``spelling`` pairs misspelt
    words with what they were read as.
    """

    text: str
    constraints: tuple[Constraint, ...] = ()
    phrases: tuple[str, ...] = ()
    negated_phrases: tuple[str, ...] = ()
    words: str = ""
    unknown: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    spelling: tuple[tuple[str, str], ...] = ()


def parse(text: str) -> Query:
    """What a text asks for; every assumption is in ``notes``, every loss in ``unknown``.

    Raises InputError if the text is blank or longer than ``MAX_CHARS`` characters.

    >>> query = parse("slow waltz in D minor around 80 bpm, Dm-Gm-A7, solo piano, no vocals")
    >>> tuple(type(c).__name__ for c in query.constraints)
    ('Metre', 'Presence', 'InKey', 'Tempo', 'Chords', 'Presence', 'Presence')
    >>> query.phrases, query.negated_phrases
    (('slow waltz', 'solo piano'), ('vocals',))
    """
    source = Source.of(text)
    detect(source)
    row = scope.items(source)
    parts = scope.clauses(row)
    scope.negate(source, row)
    scope.doubt(source, parts)
    scope.weigh(parts)
    scope.drop_optional(source, parts)
    scope.soften_modified(source, row)
    place.attach(source, parts)
    scope.correct(source, row)
    scope.resolve_contradictions(source)
    scope.alternatives(row)
    scope.straighten(source)
    scope.resolve_measures(source)
    roman.resolve_mentions(source)
    constraints = _assemble(source)
    wanted, unwanted, words = phrases.rest(source)
    return Query(
        text=source.text,
        constraints=constraints,
        phrases=wanted,
        negated_phrases=unwanted,
        words=words,
        unknown=tuple(dict.fromkeys(source.cut(a, b) for a, b in sorted(source.unknown))),
        notes=tuple(source.notes),
        spelling=tuple((t.word, source.spelling[t.start]) for t in source.tokens if t.start in source.spelling),
    )


def detect(source: Source) -> None:
    """Let every detector look, the surest notation first; what one claims the next does not see."""
    cues.find_labels(source)
    cues.find_titles(source)
    cues.find_voiceless(source)
    roman.find_named(source)
    concepts.find(source, longer_than=1)
    place.find_fractions(source)
    roman.find(source)
    metre.find(source)
    chords.find(source)
    key.find(source)
    before: Quantity | None = None  # a tempo just before, whose unit the next number of a list shares
    for quantity in share_units(source, list(quantities(source))):
        if source.free(quantity.digits_start, quantity.end):
            quantity = tempo.in_a_list(source, before, quantity)
            is_tempo = tempo.from_quantity(source, quantity)
            before = quantity if is_tempo else None
            _ = is_tempo or duration.from_quantity(source, quantity)
    duration.find(source)
    dynamics.find(source)
    tempo.find_words(source)
    tempo.find_strays(source)
    concepts.find(source)
    concepts.find_gender(source)
    concepts.find_without(source)
    concepts.find_misspelt(source)
    compare.find(source)
    cues.find_exceptions(source)
    cues.find_marks(source)
    cues.mark(source)
    place.find(source)
    cues.find(source)
    tempo.find_beside(source, scope.items(source))


def _assemble(source: Source) -> tuple[Constraint, ...]:
    """The constraints of all mentions in the order of the text, each once, with the greatest weight it was given."""
    result: dict[Constraint, Constraint] = {}
    for mention in sorted(source.mentions, key=lambda m: (m.start, m.end)):
        if mention.constraint is not None and mention.cue != "part":
            new = _finished(source, mention)
            first = result.setdefault(replace(new, text="", weight=1.0, any_of=0), new)
            if new.weight > first.weight:
                result[replace(new, text="", weight=1.0, any_of=0)] = replace(first, weight=new.weight)
    return tuple(result.values())


def _finished(source: Source, mention: Mention) -> Constraint:
    constraint = mention.constraint
    assert constraint is not None
    if mention.place is not None:
        constraint = place.placed(constraint, mention.place)
    if mention.negated and 0 <= mention.said_from < mention.start:
        constraint = replace(constraint, text=source.cut(mention.said_from, mention.end))
    constraint = replace(constraint, negated=mention.negated, weight=mention.weight, any_of=mention.any_of)
    if isinstance(constraint, Tempo) and constraint.negated:
        constraint = replace(constraint, exact=True)  # "not fast" does not shut out the double of a slow tempo
    return constraint
