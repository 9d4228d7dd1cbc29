"""Numbers with what they measure: "around 110 bpm", "between 2 and 4 minutes", "at 0:30", "no more than 90 seconds".

One reader for every number of a query, so that a number is never read twice as two things. ``unit`` is "bpm", "s"
(values are then in seconds), "other" (Hz, bars, bits, decades, opus numbers, ...) or "" where nothing follows.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import reduce
from itertools import pairwise

from solfa.query.lexis import Regexes, patterns_table, rx
from solfa.query.source import Source

regex = Regexes("quantity")

_TIME_SCALE = {"h": 3600.0, "m": 60.0, "s": 1.0}


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
    """The value of a number as written; a clock time is in seconds.

    >>> number_value("one hundred and ten"), number_value("2:30"), number_value("92,5")
    (110.0, 150.0, 92.5)
    """
    if ":" in text:
        return float(reduce(lambda total, part: 60 * total + int(part), text.split(":"), 0))
    if text in (amounts := patterns_table()["amount"]):
        return float(amounts[text])
    if text[0].isdigit():
        return float(text.replace(",", "."))
    words = text.replace("-", " ").split()
    value_of: dict[str, int] = patterns_table()["number_word"]
    if "hundred" in words:
        at = words.index("hundred")
        rest = [w for w in words[at + 1 :] if w != "and"]
        return 100.0 * value_of.get(words[0], 1) + sum(value_of[w] for w in rest)
    return float(sum(value_of[w] for w in words))


def quantities(source: Source) -> Iterator[Quantity]:
    """Every free number of the query with its unit and bounds, from left to right."""
    position = 0
    while match := regex.start.search(source.low, position):
        position = match.end()
        if not source.free(match.start(), match.end()):
            continue
        quantity = _read(source, match)
        position = max(position, quantity.end)
        yield quantity


def share_units(source: Source, found: list[Quantity]) -> list[Quantity]:
    """Gives numbers without a unit that of the number next to them: "at least 120 but no more than 126 bpm"."""
    for step in (1, -1):  # from the left, then from the right
        for i, j in pairwise(range(len(found))[::step]):
            giver, taker = found[i], found[j]
            left, right = sorted((giver, taker), key=lambda q: q.start)
            link = regex.shared.fullmatch(source.low[left.end : right.start]) if right.start - left.end < 32 else None
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
    elif unit in ("", "bpm") and (times := regex.times.search(source.before(position))):
        position -= len(times[0])
        a = b = a * 2 if times["double"] else a / 2
    said = _said_before(source, position)
    ranged, margin = False, None
    if (unit in ("", "s") or low.startswith(("<", ">"), end + 1)) and (
        upper := _upper(source, match, end, unit, "span" in said)
    ):
        b, scale, unit, end, ranged = *upper, True
        a *= scale
    elif pm := regex.margin.match(low, end):
        margin, end = float(pm["pm"]), pm.end()
        if unit == "" and (again := _unit(low, end))[0] == "bpm":
            unit, end = "bpm", again[2]
    end, after_approx, bound = suffix(low, end, "below" if "below" in said else "above" if "above" in said else "")
    if unit == "":
        unit, scale, end = _unit(low, end)
        a, b = a * scale, b * scale
        end, more, bound = suffix(low, end, bound)
        after_approx = after_approx or more
    if too := regex.too.match(low, end):
        up = bound == "below" if bound else too["slow"] is not None
        end, bound = too.end(), "above" if up else "below"
        unit = unit or ("bpm" if "fast" in too[0] or "slow" in too[0] else "")
    lone_span = not ranged and said.keys() == {"", "span"}
    start = position if lone_span else position - len(said.get("", ""))
    unit = "s" if clock and unit == "" else unit
    if unit in ("", "other") and regex.not_a_measure.search(source.before(start, 16)):
        unit = "other"
    vague = "approx" in said or after_approx or match[0] in ("a couple of", "a few", "several")
    return Quantity(
        start=start, end=end, low=min(a, b), high=max(a, b), unit=unit, clock=clock, approx=vague,
        exact="exact" in said, bound=bound, margin=margin, span="span" in said and ranged, digits_start=match.start(),
    )  # fmt: skip


def _said_before(source: Source, position: int) -> dict[str, str]:
    """What the words before a number say of it, by the groups of ``left``, and all of them under ""."""
    before = source.before(position, 40)
    left = regex.left.search(before)
    if before.rstrip()[-1:].isdigit() or left is None:
        return {}
    return {name: words for name, words in {**left.groupdict(), "": left[0].lstrip()}.items() if words}


def _first(low: str, match: re.Match[str]) -> tuple[float, str, int]:
    """Value (times in seconds), unit and end of a single number."""
    value, end = number_value(match[0]), match.end()
    if half := regex.and_a_half.match(low, end):
        value, end = value + 0.5, half.end()
    unit, scale, end = _unit(low, end)
    if unit == "" and regex.or_number.match(low, end):
        unit = "bpm"
    if unit == "s" and ":" not in match[0]:
        value, end = _compound_time(low, end, value * scale, scale)
    return value, unit, end


def _tens(source: Source, match: re.Match[str]) -> tuple[tuple[float, float], int, int] | None:
    """Bounds, start and end of "120s" as a tempo, or of its lower, middle or upper part."""
    tens = regex.tens_of.match(source.low, match.end())
    value = number_value(match[0]) if tens and match[0].isdigit() else 1.0
    part = regex.part_of_tens.search(source.before(match.start()))
    sure = (tens and tens["bpm"]) or 100 <= value < 220 or (part and part[0].startswith(("low", "high", "upp")))
    if not tens or value % 10 or not sure:
        return None
    low, high = (0, 9) if not part else (0, 3) if part["low"] else (6, 9) if part["high"] else (4, 6)
    return (value + low, value + high), match.start() - len(part[0] if part else ""), tens.end()


def _upper(
    source: Source, first: re.Match[str], end: int, unit: str, span: bool
) -> tuple[float, float, str, int] | None:
    """The second number of a range: its value, the scale for the first, the unit and the end."""
    interval = regex.in_brackets.search(source.before(first.start(), 12)) and regex.interval.match(source.low, end)
    if interval:
        return number_value(interval["b"]), 1.0, "bpm", interval.end()
    upper = regex.range.match(source.low, end)
    if upper is None or not source.free(end, upper.end()) or not _joins(source, first[0], upper, span):
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
    match = regex.unit.match(low, end)
    if match is None:
        return "", 1.0, end
    if match["bpm"]:
        return "bpm", 1.0, match.end()
    for name, scale in _TIME_SCALE.items():
        if match[name]:
            decade = match[0] == "s" and low[end - 1] == "0"
            decade = decade and not rx("<<of_track>>").search(low, max(0, end - 18), end)
            if decade and not regex.seconds_after_all.match(low, match.end()):
                break
            return "s", scale, match.end()
    return "other", 1.0, match.end()


def _compound_time(low: str, end: int, value: float, scale: float) -> tuple[float, int]:
    """Adds "30" or "30 seconds" to "2 minutes", and "and a half"."""
    half = regex.half_more.match(low, end)
    if half:
        return value + scale / 2, half.end()
    if scale == 1.0:
        return value, end
    more = regex.more_time.match(low, end)
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
    if match := regex.post.match(low, end):
        end = match.end()
        if match["plus"]:
            bound = bound or "above"
        else:
            approx = True
    if bound == "" and (match := regex.afterwards.match(low, end)):
        end = match.end()
        bound = "above" if match["above"] else "below"
    return end, approx, bound
