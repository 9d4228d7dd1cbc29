"""The parse in plain lines, so that a user sees what was understood and what was not."""

import re

from solfa.constraints import Chords, Constraint, Duration, Dynamics, InKey, Presence
from solfa.core.vocabulary import concept
from solfa.query.lexis import stop_words
from solfa.query.override import cut
from solfa.query.parser import Query


def explain(query: Query) -> list[str]:
    """Lines that say what the query was understood to ask.

    >>> from solfa.query import parse
    >>> explain(parse("around 110 bpm, no vocals"))
    ["tempo: 105-115 BPM (from 'around 110 bpm')", "voice: no vocals (from 'no vocals')"]
    """
    lines = [_line(c) for c in query.constraints]
    for what, compared in zip(("sounds like", "not like"), by_sound(query), strict=True):
        if phrases := [phrase for phrase in compared if not is_measured(phrase, query)]:
            lines.append(f"{what}: " + "; ".join(f"'{p}'" for p in phrases))
    if unread := [phrase for phrase in query.unknown if not (query.constraints and is_measured(phrase, query))]:
        lines.append("not understood: " + "; ".join(f"'{u}'" for u in unread))
    lines += [f"note: {note}" for note in query.notes]
    return lines


def by_sound(query: Query) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The phrases that are compared by sound, and those to keep away from: not the bare names of what is measured."""
    measured = {
        name.casefold() for c in query.constraints if isinstance(c, Presence) for name in concept(c.concept).names
    }
    wanted = tuple(p for p in query.phrases if p.casefold() not in measured)
    return wanted, tuple(p for p in query.negated_phrases if p.casefold() not in measured)


def whole_text(query: Query) -> str:
    """What a model that learnt whole captions is asked; nothing where nothing is wanted that sound is like.

    Left out are words that are denied, that were not understood, and of lengths and loudness; misspelt words are as
    they were read. Where words of another language were read, the English names of what is wanted are asked instead.

    >>> from solfa.query import parse
    >>> [whole_text(parse(text)) for text in ("calm piano, no drums, under 3 minutes", "no drums", "around 125 bpm")]
    ['calm piano', '', '']
    """
    wanted = [c for c in query.constraints if isinstance(c, Presence | InKey | Chords) and not c.negated]
    if not wanted and not by_sound(query)[0]:
        return ""
    names = [c for c in wanted if isinstance(c, Presence)]
    if any(c.text.casefold() in unknown.casefold() for unknown in query.unknown for c in names):
        return ", ".join(dict.fromkeys(concept(c.concept).title for c in names))
    gone = [c.text for c in query.constraints if c.negated or isinstance(c, Duration | Dynamics)]
    text = cut(query.text, [*gone, *query.negated_phrases, *query.unknown])
    for written, read in query.spelling:
        text = re.sub(rf"(?i)(?<!\w){re.escape(written)}(?!\w)", read, text)
    return text


def is_measured(phrase: str, query: Query) -> bool:
    """Whether constraints were read from all but small words of a phrase: it is compared too, but says nothing more.

    >>> from solfa.query import parse
    >>> [is_measured(phrase, parse("fast jazz waltz")) for phrase in ("jazz and fast waltz", "slow jazz waltz")]
    [True, False]
    """
    read = set(re.findall(r"\w+", " ".join(c.text for c in query.constraints).casefold()))
    said = set(re.findall(r"\w+", phrase.casefold()))
    return (said - stop_words() or said) <= read


def _line(constraint: Constraint) -> str:
    degree = " (a must)" if constraint.weight > 1 else " (if possible)" if constraint.weight < 1 else ""
    group = f" (any of group {constraint.any_of})" if constraint.any_of else ""
    return f"{constraint.label}: {constraint.words()}{degree}{group} (from '{constraint.text}')"
