"""Metre: "4/4", "six-eight", "in five", "three beats per bar", "compound time", and dances that imply one."""

import re

from solfa.constraints import Metre
from solfa.query.lexis import Regexes, patterns_table, rx, whole
from solfa.query.quantity import number_value
from solfa.query.source import Mention, Source

regex = Regexes("metre")

_ALONE = r"(?:^|(?<=[,;.\n(])|(?<=[,;.\n(] ))(?:{})(?=\s*(?:$|[,;.\n)]))"


def valid(numerator: int, denominator: int) -> bool:
    """Whether music is written in this time signature.

    >>> valid(7, 8), valid(13, 0), valid(3, 5)
    (True, False, False)
    """
    return 2 <= numerator <= 32 and denominator in (2, 4, 8, 16)


def find(source: Source) -> None:
    """Finds every metre of a query."""
    for match in regex.fraction.finditer(source.low):
        _fraction(source, match)
    for match in regex.spelled.finditer(source.low):
        before = source.before(match.start())
        cue = match["cue"] or regex.cue_before.search(before)
        cue = cue or (regex.in_before.search(before) and regex.in_after.match(source.low, match.end()))
        words = match["a"].isalpha() and match["b"].isalpha()
        if (cue or (words and match["dash"] == "-")) and (words or not match["a"].isalpha()):
            a, b = (int(number_value(match[name])) for name in "ab")
            if valid(a, b):
                _add(source, match.start(), match.end(), (f"{a}/{b}",))
    for pattern in (regex.beats_per_bar, regex.counted):
        for match in source.matches(pattern):
            if metres := patterns_table()["metre_of"].get(f"{number_value(match['n']):g}"):
                source.note(f"{source.quote(*match.span())} read as {' or '.join(metres)}")
                _add(source, match.start(), match.end(), tuple(metres))
    _find_names(source)
    for match in source.matches(regex.stray):
        if any(c.isdigit() for c in match["what"]):
            source.not_understood(*match.span(), reason="no metre is written so; expected something like 3/4 or 7/8")


def _find_names(source: Source) -> None:
    for entry in patterns_table()["named_metre"]:
        metres, weight = tuple(entry["metres"]), entry.get("weight", 1.0)
        patterns = [whole("|".join(entry["words"]))]
        patterns += [rx(_ALONE.format("|".join(entry["alone"])))] if "alone" in entry else []
        for match in (m for pattern in patterns for m in pattern.finditer(source.low)):
            if not source.free(*match.span()) and not entry.get("spoken"):
                continue
            if weight != 1.0 or len(metres) > 1:
                source.note(f"{source.quote(*match.span())} read as {' or '.join(metres)}")
            if entry.get("spoken"):  # the word may name a genre as well: leave it to the vocabulary
                constraint = Metre(text=source.cut(*match.span()), metres=metres)
                source.mentions.append(Mention(*match.span(), "metre", constraint, spoken=True, weight=weight))
            else:
                _add(source, match.start(), match.end(), metres)


def _fraction(source: Source, match: re.Match[str]) -> None:
    cue = bool(match["cue"] or regex.cue_before.search(source.before(match.start())))
    numerator = sum(int(n) for n in match[1].split("+"))
    denominator = int(match[2])
    if rx(r"\s?-?<<not_metre_after>>").match(source.low, match.end()) and not cue:
        return
    if valid(numerator, denominator) and (cue or (numerator, denominator) != (24, 7)):
        _add(source, match.start(), match.end(), (f"{numerator}/{denominator}",))
    elif cue or denominator == 0:
        source.not_understood(match.start(), match.end(), "no metre is written so; expected something like 3/4 or 7/8")


def _add(source: Source, start: int, end: int, metres: tuple[str, ...]) -> None:
    if not source.free(start, end):
        return
    lead = regex.cue_before.search(source.before(start))
    if lead and source.free(start - len(lead[0]), start):
        start -= len(lead[0])
    source.add(Mention(start, end, "metre", Metre(text=source.cut(start, end), metres=metres)))
