"""The parse in plain lines, so that a user sees what was understood and what was not."""

from __future__ import annotations

import re
from collections.abc import Callable

from solfa.core.query import (
    FASTEST_BPM,
    LONGEST_S,
    SLOWEST_BPM,
    Chords,
    Constraint,
    Duration,
    Dynamics,
    InKey,
    Metre,
    Place,
    Presence,
    Query,
    Tempo,
)
from solfa.core.text import clock
from solfa.core.theory import Key
from solfa.core.vocabulary import concept


def explain(query: Query) -> list[str]:
    """Lines that say what the query was understood to ask.

    >>> from solfa.query import parse
    >>> explain(parse("around 110 bpm, no vocals"))
    ["tempo: 105-115 BPM (from 'around 110 bpm')", "voice: no vocals (from 'no vocals')"]
    """
    lines = [_line(c) for c in query.constraints]
    for what, compared in zip(("sounds like", "not like"), by_sound(query), strict=True):
        if phrases := [phrase for phrase in compared if not is_told(phrase, query)]:
            lines.append(f"{what}: " + "; ".join(f"'{p}'" for p in phrases))
    if query.unknown:
        lines.append("not understood: " + "; ".join(f"'{u}'" for u in query.unknown))
    lines += [f"note: {note}" for note in query.notes]
    return lines


def by_sound(query: Query) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The phrases that are compared by sound, and those to keep away from: not the bare names of what is measured."""
    measured = {
        name.casefold() for c in query.constraints if isinstance(c, Presence) for name in concept(c.concept).names
    }
    wanted = tuple(p for p in query.phrases if p.casefold() not in measured)
    return wanted, tuple(p for p in query.negated_phrases if p.casefold() not in measured)


def is_told(phrase: str, query: Query) -> bool:
    """Whether constraints were read from every word of a phrase: it is compared too, but says nothing more.

    >>> from solfa.query import parse
    >>> [is_told(phrase, parse("fast jazz waltz")) for phrase in ("fast jazz waltz", "slow jazz waltz")]
    [True, False]
    """
    read = set(re.findall(r"\w+", " ".join(c.text for c in query.constraints).casefold()))
    return set(re.findall(r"\w+", phrase.casefold())) <= read


def describe(constraint: Constraint) -> str:
    """What one constraint asks, without where it came from.

    >>> describe(Tempo(text="", low_bpm=90, high_bpm=100))
    '90-100 BPM'
    """
    no = ("no " if isinstance(constraint, Presence) else "not ") if constraint.negated else ""
    return no + _wish(constraint)


def _line(constraint: Constraint) -> str:
    degree = " (a must)" if constraint.weight > 1 else " (if possible)" if constraint.weight < 1 else ""
    group = f" (any of group {constraint.any_of})" if constraint.any_of else ""
    return f"{label(constraint)}: {describe(constraint)}{degree}{group} (from '{constraint.text}')"


def label(constraint: Constraint) -> str:
    """The word for what a constraint is about: tempo, key, metre, chords, a vocabulary kind, dynamics, duration."""
    if isinstance(constraint, Presence):
        return constraint.kind
    names = {Tempo: "tempo", InKey: "key", Metre: "metre", Chords: "chords", Dynamics: "dynamics", Duration: "duration"}
    return names[type(constraint)]


def _wish(constraint: Constraint) -> str:
    if isinstance(constraint, Tempo):
        return _range(constraint.low_bpm, constraint.high_bpm, SLOWEST_BPM, FASTEST_BPM, "BPM") + (
            "" if constraint.exact else " (half or double counts a little)"
        )
    if isinstance(constraint, InKey):
        return _key(constraint)
    if isinstance(constraint, Metre):
        return " or ".join(constraint.metres)
    if isinstance(constraint, Chords):
        how = ", in any key" if constraint.transposable else ""
        exact = "" if constraint.loose_quality else ", exactly"
        return "-".join(map(str, constraint.chords)) + how + exact
    if isinstance(constraint, Presence):
        solo = " (alone or leading)" if constraint.solo else ""
        return concept(constraint.concept).title + solo + place_words(constraint.place)
    if isinstance(constraint, Dynamics):
        return constraint.shape + place_words(constraint.place)
    assert isinstance(constraint, Duration)
    return _range(constraint.low_s, constraint.high_s, 0.0, LONGEST_S, "length", clock)


def _range(
    low: float, high: float, least: float, most: float, unit: str, show: Callable[[float], str] | None = None
) -> str:
    """The range in numbers with their unit, or as ``show`` writes its ends."""
    if low <= least and high >= most:
        return f"any {unit}"
    after = "" if show else f" {unit}"
    first, last = (show or "{:g}".format)(low), (show or "{:g}".format)(high)
    if low <= least:
        return f"at most {last}{after}"
    if high >= most:
        return f"at least {first}{after}"
    return f"{first}{after}" if first == last else f"{first}-{last}{after}"


def _key(wish: InKey) -> str:
    if wish.tonic is None:
        text = f"{wish.mode}"
    elif wish.mode is None:
        text = f"{str(Key(wish.tonic, 'major')).split()[0]} (major or minor)"
    else:
        text = str(Key(wish.tonic, wish.mode))
    return f"{text} or a neighbour on the wheel" if wish.compatible else text


def place_words(place: Place | None) -> str:
    """Where, for people: " in 50-100 %", " entering at 0:55-1:05"; empty for no place."""
    if place is None:
        return ""
    verb = {"in": "in", "enters": "entering in", "leaves": "leaving in", "only": "only in"}[place.event]
    until = place.event == "leaves" and not (place.start_s if place.absolute else place.start)
    if not place.absolute and until:
        return f" until {place.end * 100:.0f} % of the track"
    if not place.absolute:
        return f" {verb} {place.start * 100:.0f}-{place.end * 100:.0f} % of the track"
    start = "the start" if place.start_s is None else _clock(place.start_s)
    end = "the end" if place.end_s is None else _clock(place.end_s)
    return f" until {end}" if until else f" {verb} {start} to {end}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(abs(seconds)), 60)
    return f"{minutes}:{rest:02d}" + (" before the end" if seconds < 0 else "")
