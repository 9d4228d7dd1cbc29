"""Comparisons: "slower than house", "not as fast as drum and bass", "heavier than trap", "rather piano than guitar".

What stands behind "than" or "as" is compared with, not asked for. A tempo beside a genre becomes a bound, by the usual
tempo of the genre (table ``[genre_tempo]`` in ``patterns.toml``); any other comparison is said to be not understood.
"""

from __future__ import annotations

import re

from solfa.constraints import FASTEST_BPM, SLOWEST_BPM, Presence, Tempo
from solfa.query.lexis import patterns_table
from solfa.query.quantity import NUMBER
from solfa.query.source import Mention, Source

_THAN = re.compile(
    r"\b(?<!rather )(?<!nothing better )(?<!other )(?<!later )(?<!sooner )(?<!earlier )"
    r"(?:(?P<not>(?:not|isn't|never|nothing)(?: quite| nearly| really| so)? )?"
    r"as (?!well\b|soon\b|long\b|far\b|much\b|many\b)(?P<how>[a-z]{3,16}) as|than|(?P<unlike>unlike)) "
    r"(?!possible\b|you can\b|it gets\b|well\b|usual\b|ever\b)"
    r"(?P<skipped>(?:(?:a|an|the|any|some|most|your|my|its|usual|typical|normal|average|standard) )*)"
)
_WORDS = re.compile(r"[^\W_]+(?:'[a-z]+)?(?: (?!and\b|but\b|with\b|at\b|in\b|or\b|no\b|please\b|for\b)[^\W_]+){0,2}")
_OVER = re.compile(r"\bprefer(?:red|ring|s)? [a-z -]{1,30}? (?P<over>over|to) (?:the |an? )?(?!be\b|have\b)")
_OTHER = re.compile(r"\b(?:no|not|n't|any|without|nothing) other(?: [a-z]+){1,2} $")
# Without one of these, "than" is "then" written wrongly.
_COMPARES = re.compile(r"\b(?:more|less|fewer|other|worse|rather|sooner|[a-z]{2,}er)\b[^.;!?\n]{0,50}$")
_NUMBER = re.compile(rf"{NUMBER}\b")
_PREFERS = re.compile(r"\b(?:rather|prefer|sooner)\b[^.;!?\n]{0,60}$")


def find(source: Source) -> None:
    """Reads every comparison; those with numbers ("faster than 100") have been read by then."""
    starts: dict[int, list[Mention]] = {}
    for mention in source.mentions:
        starts.setdefault(mention.start, []).append(mention)
    ends = {m.end: m for m in source.mentions if m.constraint is not None}
    for match in _OVER.finditer(source.low):
        if match.end() in starts and source.free(*match.span("over")):  # "I prefer guitar over piano"
            source.add(Mention(*match.span("over"), "negation", cue="than", weight=0.5))
    for match in _THAN.finditer(source.low):
        other = next((m for m in starts.get(match.end(), []) if m.constraint is not None), None)
        degree = ends.get(match.start() - 1)
        number = other is None and _NUMBER.match(source.low, match.end())
        if number or not (match["how"] or match["unlike"] or _COMPARES.search(source.before(match.start()))):
            continue
        if not source.free(*match.span()) and not (match["how"] and other):
            continue
        words = _WORDS.match(source.low, match.end())
        start, end = match.start(), other.end if other else words.end() if words else match.end()
        usual = None
        if match["how"] in ("fast", "quick", "slow"):
            faster = match["how"] != "slow"
            usual = _usual(other)
        elif degree is not None and degree.kind == "tempo" and degree.cue == "word":
            start, faster = degree.start, "slow" not in source.low[degree.start : degree.end]
            usual = _usual(other)
        elif other is not None and match["how"] is None and _PREFERS.search(source.before(start, 80)):
            source.add(Mention(*match.span(), "negation", cue="than", weight=0.5))
            continue
        elif match["how"] is None and _OTHER.search(source.before(start)):
            source.add(Mention(*match.span(), "negation", cue="exception"))
            continue
        elif degree is not None and degree.kind == "dynamics":
            start = degree.start
            if other is not None and other.kind in ("instrument", "voice"):
                end = match.end()  # "drums louder than the piano": both are there
        else:
            start = match.end("how") + 1 if match["how"] else start
        for mention in (m for position in range(start, end) for m in starts.get(position, [])):
            mention.forget()
        if usual is None:
            source.not_understood(start, end, "a comparison with what is not measured, or has no usual tempo")
            continue
        low, high = usual
        faster = faster != bool(match["not"])
        if match["not"] or not match["how"]:
            low, high = (high, FASTEST_BPM) if faster else (SLOWEST_BPM, low)
        text = source.cut(start, end)
        source.note(f"'{text}' read by a usual tempo of {usual[0]:g}-{usual[1]:g} BPM")
        source.add(Mention(start, end, "tempo", Tempo(text=text, low_bpm=low, high_bpm=high)))


def _usual(other: Mention | None) -> list[float] | None:
    """The usual tempo of a genre in BPM, from and to."""
    table: dict[str, list[float]] = patterns_table()["genre_tempo"]
    return table.get(other.constraint.concept) if other and isinstance(other.constraint, Presence) else None
