"""Numbers with what they measure: "around 110 bpm", "between 2 and 4 minutes", "at 0:30", "no more than 90 seconds".

One reader for every number of a query, so that a number is never read twice as two things. ``unit`` is "bpm", "s"
(values are then in seconds), "other" (Hz, bars, bits, decades, opus numbers, ...) or "" where nothing follows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import reduce
from itertools import pairwise

from solfa.query.lexis import OF_TRACK, rx
from solfa.query.source import Source

_ONES = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
_TEENS = ["ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
VALUES = {
    **{w: i + 1 for i, w in enumerate(_ONES)},
    **{w: i + 10 for i, w in enumerate(_TEENS)},
    **{w: 10 * i + 20 for i, w in enumerate(_TENS)},
}
_SMALL = rf"(?:(?:{'|'.join(_TENS)})(?:[ -](?:{'|'.join(_ONES)}))?|{'|'.join(_TEENS)}|{'|'.join(_ONES)})"
WORDS = rf"(?:(?:(?:a|one|two|three) hundred(?:(?: and)? {_SMALL})?|{_SMALL})\b)"
DIGITS = r"(?:\d{1,5}(?:[.,]\d{1,2})?(?!\d))"
CLOCK = r"(?:\d{1,3}:[0-5]\d(?::[0-5]\d)?(?!\d))"
NUMBER = rf"(?:{CLOCK}|{DIGITS}|{WORDS})"

_UNIT = (
    r"[\s-]?\s?(?:(?P<bpm><<bpm>>)|(?P<h><<hours>>)|(?P<m><<minutes>>)|(?P<s><<seconds>>)|(?P<other><<other_unit>>))"
)
_TIME_SCALE = {"h": 3600.0, "m": 60.0, "s": 1.0}
_LEFT = (
    r"(?:(?:(?<![^\W_])|(?=[<>≤≥]))(?:(?P<below><<below>>)|(?P<above><<above>>)))?\s*"
    r"(?:(?<![^\W_])(?:(?P<approx><<approx>>)|(?P<exact><<exact>>)))?\s*(?:(?<![^\W_])(?P<span><<span>>)\s+)?$"
)
_NOT_A_MEASURE = r"(?:\b<<numbered>>\.?\s?|[#$€£]\s?)$"
_CHAIN = r"[<>≤≥]=?\s*(?P<what>bpm|tempo|speed|length|duration|[a-z]\b)\s*[<>≤≥]=?"
_RANGE = re.compile(
    rf"\s*(?:-|~|/|\.\.+|(?:up )?to|through|thru|and|till|until|bis|a|und|et|y|>|{_CHAIN})\s*(?P<b>{NUMBER})"
)
_AND_A_HALF = r" and a half(?=[\s-](?:<<hours>>|<<minutes>>|<<seconds>>))"
_MORE_TIME = r"\s?(?:and\s)?(\d{1,2})(?!\d)(?:[\s-]?(?:<<seconds>>|<<minutes>>)|(?=\s*(?:long|$|[,.;])))"
_OR_NUMBER = rf"(?=,? or (?:{NUMBER})(?:[\s-]?(?P<bpm><<bpm>>)))"
_POST = re.compile(
    r"\s?-?(?:ish\b|(?:or so|or thereabouts|give or take|plus or minus|approx\.?|approximately|roughly)\b"
    r"(?!\s\d))|\s?(?P<plus>\+)(?![/\d-])"
)
_MARGIN = re.compile(r"\s*(?:±|\+/-|\+-|plus or minus|plus-minus|give or take)\s*(?P<pm>\d{1,2})")
_AFTERWARDS = r",?\s(?:(?P<above><<above_behind>>)|(?P<below><<below_behind>>))"
# What shuts a number or all beyond a bound out: "anything above 120 bpm is too fast".
_TOO = (
    r"\s(?:is|are|would be|feels)(?: already| just| way| far| much)? "
    r"(?:too (?:fast|long|high|much|(?P<slow>slow|short|low|little))|<<ruled_out>>)(?![^\W_])"
)
SECONDS_AFTER_ALL = re.compile(
    r"\s(?:long|clip|intro|loop|cut|spot|ad|bed|sting|promo|bumper|in(?:to)?|mark|in length"
    r"|or (?:less|more|shorter|longer))\b"
)
# "Low 120s", "in the 130s", "twice 70", "in (100, 110)".
_TENS_OF = r"s(?:\s?(?P<bpm><<bpm>>))?(?![^\W_])"
_PART_OF_TENS = re.compile(r"\b(?:(?P<low>low(?:er)?|early)|mid(?:dle)?|(?P<high>high(?:er)?|upper|late))[ -]$")
_TIMES = re.compile(r"\b(?:(?P<double>twice|double|two times|2 ?x)|half)(?: of| the)? $")
_INTERVAL = re.compile(rf"\s*,\s*(?P<b>{DIGITS})\s*[)\]]")
_IN_BRACKETS = re.compile(r"(?:\bin|\bbetween|\brange|[:=∈]) ?[(\[]$")
# What may stand between two numbers that share a unit; ``bare``: a second number needs a bound of its own.
_SHARED = re.compile(
    r"(?P<bare>,?\s(?:but|and|yet|though)\s(?:also\s)?|,\s?)|,?\s(?:or|/)\s|\s?/\s?"
    r"|[,.]?\s(?:no,?\s)?(?:(?:wait|sorry|actually|rather|make (?:that|it)|i mean|better),?\s){1,3}"
)
_START = re.compile(rf"(?:(?<![^\W_])|(?<=bpm))(?<!\d[.:/])(?:{NUMBER})")


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number or range as said; ``bound`` is "", "below" or "above", ``margin`` an explicit plus-minus."""

    start: int
    end: int
    low: float
    high: float
    unit: str
    clock: bool = False
    approx: bool = False
    exact: bool = False
    bound: str = ""
    margin: float | None = None
    span: bool = False
    digits_start: int = 0


def number_value(text: str) -> float:
    """The value of a match of ``NUMBER``; a clock time is in seconds.

    >>> number_value("one hundred and ten"), number_value("2:30"), number_value("92,5")
    (110.0, 150.0, 92.5)
    """
    if ":" in text:
        return float(reduce(lambda total, part: 60 * total + int(part), text.split(":"), 0))
    if text[0].isdigit():
        return float(text.replace(",", "."))
    words = text.replace("-", " ").split()
    if "hundred" in words:
        at = words.index("hundred")
        rest = [w for w in words[at + 1 :] if w != "and"]
        return 100.0 * VALUES.get(words[0], 1) + sum(VALUES[w] for w in rest)
    return float(sum(VALUES[w] for w in words))


def quantities(source: Source) -> Iterator[Quantity]:
    """Every free number of the query with its unit and bounds, from left to right."""
    position = 0
    while match := _START.search(source.low, position):
        position = match.end()
        if not source.free(match.start(), match.end()):
            continue
        quantity = _read(source, match)
        position = max(position, quantity.end)
        yield quantity


def share_units(source: Source, found: list[Quantity]) -> list[Quantity]:
    """Gives numbers without a unit that of the number beside them: "at least 120 but no more than 126 bpm"."""
    for step in (1, -1):  # from the left, then from the right
        for i, j in pairwise(range(len(found))[::step]):
            giver, taker = found[i], found[j]
            left, right = sorted((giver, taker), key=lambda q: q.start)
            link = _SHARED.fullmatch(source.low[left.end : right.start]) if right.start - left.end < 32 else None
            if taker.unit or giver.unit not in ("bpm", "s") or not link or (link["bare"] and not taker.bound):
                continue
            scale = 60.0 if giver.unit == "s" and "m" in source.low[giver.digits_start : giver.end] else 1.0
            found[j] = replace(taker, low=taker.low * scale, high=taker.high * scale, unit=giver.unit)
    return found


def _read(source: Source, match: re.Match[str]) -> Quantity:
    low, clock = source.low, ":" in match[0]
    a, unit, end = _first(low, match)
    position, b = match.start(), a
    if tens := _tens(source, match):
        (a, b), unit, position, end = tens[0], "bpm", tens[1], tens[2]
    elif unit in ("", "bpm") and (times := _TIMES.search(source.before(position))):
        position -= len(times[0])
        a = b = a * 2 if times["double"] else a / 2
    before = _before(source, position)
    ranged, margin = False, None
    if (unit in ("", "s") or low.startswith(("<", ">"), end + 1)) and (
        upper := _upper(source, match, end, unit, before)
    ):
        b, scale, unit, end, ranged = *upper, True
        a *= scale
    elif pm := _MARGIN.match(low, end):
        margin, end = float(pm["pm"]), pm.end()
        if unit == "" and (again := _unit(low, end))[0] == "bpm":
            unit, end = "bpm", again[2]
    end, after_approx, bound = suffix(low, end, before.bound)
    if unit == "":
        unit, scale, end = _unit(low, end)
        a, b = a * scale, b * scale
        end, more, bound = suffix(low, end, bound)
        after_approx = after_approx or more
    if too := rx(_TOO).match(low, end):
        up = bound == "below" if bound else too["slow"] is not None
        end, bound = too.end(), "above" if up else "below"
        unit = unit or ("bpm" if "fast" in too[0] or "slow" in too[0] else "")
    lone_span = before.span and not (ranged or before.bound or before.approx or before.exact)
    start = position if lone_span else before.start
    unit = "s" if clock and unit == "" else unit
    if unit in ("", "other") and rx(_NOT_A_MEASURE).search(source.before(start, 16)):
        unit = "other"
    return Quantity(
        start=start, end=end, low=min(a, b), high=max(a, b), unit=unit, clock=clock,
        approx=before.approx or after_approx, exact=before.exact, bound=bound, margin=margin,
        span=before.span and ranged, digits_start=match.start(),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Before:
    """What the words before a number say of it."""

    start: int
    bound: str = ""
    approx: bool = False
    exact: bool = False
    span: bool = False


def _before(source: Source, position: int) -> _Before:
    before = source.before(position, 40)
    left = rx(_LEFT).search(before)
    if before.rstrip()[-1:].isdigit() or left is None or not left[0].strip():
        return _Before(position)
    bound = "below" if left["below"] else "above" if left["above"] else ""
    start = position - len(left[0].lstrip())
    return _Before(start, bound, bool(left["approx"]), bool(left["exact"]), bool(left["span"]))


def _first(low: str, match: re.Match[str]) -> tuple[float, str, int]:
    """Value (times in seconds), unit and end of a single number."""
    value, end = number_value(match[0]), match.end()
    if half := rx(_AND_A_HALF).match(low, end):
        value, end = value + 0.5, half.end()
    unit, scale, end = _unit(low, end)
    if unit == "" and rx(_OR_NUMBER).match(low, end):
        unit = "bpm"
    if unit == "s" and ":" not in match[0]:
        value, end = _compound_time(low, end, value * scale, scale)
    return value, unit, end


def _tens(source: Source, match: re.Match[str]) -> tuple[tuple[float, float], int, int] | None:
    """Bounds, start and end of "120s" as a tempo, or of its lower, middle or upper part."""
    tens = rx(_TENS_OF).match(source.low, match.end())
    value = number_value(match[0]) if tens and match[0].isdigit() else 1.0
    part = _PART_OF_TENS.search(source.before(match.start()))
    if (
        not tens
        or value % 10
        or not (tens["bpm"] or 100 <= value < 220 or (part and part[0][:3] in ("low", "hig", "upp")))
    ):
        return None
    low, high = (0, 9) if not part else (0, 3) if part["low"] else (6, 9) if part["high"] else (4, 6)
    return (value + low, value + high), match.start() - len(part[0] if part else ""), tens.end()


def _upper(
    source: Source, first: re.Match[str], end: int, unit: str, before: _Before
) -> tuple[float, float, str, int] | None:
    """The second number of a range: its value, the scale for the first, the unit and the end."""
    interval = _IN_BRACKETS.search(source.before(first.start(), 12)) and _INTERVAL.match(source.low, end)
    if interval:
        return number_value(interval["b"]), 1.0, "bpm", interval.end()
    upper = _RANGE.match(source.low, end)
    if upper is None or not source.free(end, upper.end()) or not _joins(source, first[0], upper, before.span):
        return None
    value = number_value(upper["b"])
    unit_b, scale, end_b = _unit(source.low, upper.end())
    if unit_b == "other" or {unit, unit_b} == {"s", "bpm"}:
        return None
    first_scale = 1.0
    if unit_b == "s" and ":" not in upper["b"]:
        value, end_b = _compound_time(source.low, end_b, value * scale, scale)
        first_scale = scale if unit == "" else 1.0
    asked = "bpm" if upper["what"] in ("bpm", "tempo", "speed") else ""
    return value, first_scale, unit_b or unit or asked, end_b


def _unit(low: str, end: int) -> tuple[str, float, int]:
    """The unit after a number, its scale to seconds, and where it ends."""
    match = rx(_UNIT).match(low, end)
    if match is None:
        return "", 1.0, end
    if match["bpm"]:
        return "bpm", 1.0, match.end()
    for name, scale in _TIME_SCALE.items():
        if match[name]:
            decade = (
                not OF_TRACK.search(low, max(0, end - 18), end)
                and match[name] == "s"
                and match.end() == end + 1
                and low[end - 1] == "0"
            )
            if decade and not SECONDS_AFTER_ALL.match(low, match.end()):
                return "other", 1.0, match.end()
            return "s", scale, match.end()
    return "other", 1.0, match.end()


def _compound_time(low: str, end: int, value: float, scale: float) -> tuple[float, int]:
    """Adds "30" or "30 seconds" to "2 minutes", and "and a half"."""
    half = re.compile(r",?\s(?:and|&) a half").match(low, end)
    if half:
        return value + scale / 2, half.end()
    if scale == 1.0:
        return value, end
    more = rx(_MORE_TIME).match(low, end)
    if more and float(more[1]) < 60:
        return value + float(more[1]) * (scale / 60), more.end()
    return value, end


def _joins(source: Source, a: str, upper: re.Match[str], span: bool) -> bool:
    """Whether the second number belongs to the first as a range."""
    link = upper[0][: upper.start("b") - upper.start()].strip()
    if link == "and":
        return span
    if upper["what"]:
        return True
    if link in ("/", ">", "a", "y", "et", "und"):
        unit = _unit(source.low, upper.end())[0]
        return unit in ("bpm", "s") and (link != "/" or not source.low[upper.end() : upper.end() + 1].isalnum())
    return (":" in a) == (":" in upper["b"])


def suffix(low: str, end: int, bound: str) -> tuple[int, bool, str]:
    """End, whether it is about, and bound of a number once the words behind it are read: "or so", "tops"."""
    approx = False
    if match := _POST.match(low, end):
        end = match.end()
        if match["plus"]:
            bound = bound or "above"
        else:
            approx = True
    if bound == "" and (match := rx(_AFTERWARDS).match(low, end)):
        end = match.end()
        bound = "above" if match["above"] else "below"
    return end, approx, bound
