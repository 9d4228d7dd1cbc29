"""Metre: "4/4", "six-eight", "in five", "three beats per bar", "compound time", and dances that imply one."""

from __future__ import annotations

import re

from solfa.constraints import Metre
from solfa.query.lexis import patterns_table, rx, whole
from solfa.query.quantity import VALUES
from solfa.query.source import Mention, Source

_BY_COUNT: dict[int, tuple[str, ...]] = {
    2: ("2/4", "2/2"), 3: ("3/4", "3/8"), 4: ("4/4",), 5: ("5/4", "5/8"), 6: ("6/8", "6/4"), 7: ("7/8", "7/4"),
    8: ("4/4", "8/8"), 9: ("9/8",), 10: ("10/8", "5/4"), 11: ("11/8",), 12: ("12/8",), 13: ("13/8",), 15: ("15/8",),
}  # fmt: skip
NUMBER_WORDS = {word: number for word, number in VALUES.items() if number <= 16 and number != 14}
_WORD = "|".join(sorted(NUMBER_WORDS, key=len, reverse=True))
_CUE_BEFORE = re.compile(r"(?:time(?: signatures?)?|met(?:er|re)|signature)(?:\s?[:=]|\s(?:of|is|in))*\s*$")
_IN_BEFORE = re.compile(r"\bin (?:a )?$")
_IN_AFTER = re.compile(r"\s*(?:$|[,.;!?)\n]|(?:and|with|at|no|please|but)\b)")
_FRACTION = r"(?<![\w./])(\d{1,2}(?:\s?\+\s?\d{1,2}){0,4})\s?/\s?(\d{1,2})(?![\w/]|\.\d)(?P<cue>[ -]<<time_word>>\b)?"
_SPELLED = (
    rf"\b(?P<a>{_WORD}|\d{{1,2}})(?P<dash>[- ])(?P<b>two|four|eight|sixteen|2|4|8|16)"
    r"(?P<cue>[ -]<<time_word>>)?(?![^\W_]|[.,:]\d|-\d)"
)
_IN = (
    rf"\b<<count_lead>> (?:a )?(?P<n>{_WORD}|\d{{1,2}})(?:[ -]<<time_word>>)?"
    r"(?=\s*(?:$|[,;.!?)\n](?!\d)|(?:<<after_a_key>>|rather|feel|time)\b))"
)
_PER_BAR = (
    rf"\b(?P<n>{_WORD}|\d{{1,2}})[ -]<<per_bar>>[ -]?(?:per|to (?:the|a)|in (?:a|each|every|the)|a|/)"
    r"[ -]?(?:bar|measure)s?\b"
)
_STRAY = re.compile(r"(?<![\w/])(?P<what>[^\s,;]{1,12}/[^\s,;]{1,12}) (?:time(?: signature)?|met(?:er|re))\b")
_ALONE = r"(?:^|(?<=[,;.\n(])|(?<=[,;.\n(] ))(?:{})(?=\s*(?:$|[,;.\n)]))"


def parse_number(text: str) -> int:
    """A count in digits or words."""
    return int(text) if text.isdigit() else NUMBER_WORDS[text]


def valid(numerator: int, denominator: int) -> bool:
    """Whether music is written in this time signature.

    >>> valid(7, 8), valid(13, 0), valid(3, 5)
    (True, False, False)
    """
    return 2 <= numerator <= 32 and denominator in (2, 4, 8, 16)


def find(source: Source) -> None:
    """Finds every metre of a query."""
    for match in rx(_FRACTION).finditer(source.low):
        _fraction(source, match)
    for match in rx(_SPELLED).finditer(source.low):
        cue = match["cue"] or _CUE_BEFORE.search(source.before(match.start()))
        cue = cue or (_IN_BEFORE.search(source.before(match.start())) and _IN_AFTER.match(source.low, match.end()))
        words = match["a"].isalpha() and match["b"].isalpha()
        if (cue or (words and match["dash"] == "-")) and (words or not match["a"].isalpha()):
            a, b = parse_number(match["a"]), parse_number(match["b"])
            if valid(a, b):
                _add(source, match.start(), match.end(), (f"{a}/{b}",))
    for match in rx(_PER_BAR).finditer(source.low):
        if metres := _BY_COUNT.get(parse_number(match["n"])):
            _add(source, match.start(), match.end(), metres)
    for match in source.matches(rx(_IN)):
        if metres := _BY_COUNT.get(parse_number(match["n"])):
            source.note(f"{source.quote(*match.span())} read as {' or '.join(metres)}")
            _add(source, match.start(), match.end(), metres)
    _find_names(source)
    for match in source.matches(_STRAY):
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
    cue = bool(match["cue"] or _CUE_BEFORE.search(source.before(match.start())))
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
    lead = _CUE_BEFORE.search(source.before(start))
    if lead and source.free(start - len(lead[0]), start):
        start -= len(lead[0])
    source.add(Mention(start, end, "metre", Metre(text=source.cut(start, end), metres=metres)))
