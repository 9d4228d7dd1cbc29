"""Tempo: numbers, ranges, metronome marks, Italian (and a few other) markings, and words such as "mid-tempo".

Ranges of markings follow the usual metronome (Maelzel) ranges without gaps; what a word was read as is noted.
"""

import re
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import replace

from solfa.constraints import FASTEST_BPM, SLOWEST_BPM, Tempo
from solfa.query import key
from solfa.query.lexis import Regexes, patterns_table, rx, words_table
from solfa.query.quantity import Quantity, quantities
from solfa.query.source import Mention, Source, Token

regex = Regexes("tempo")

# Marks that are everyday words in some language unless the query refers to tempo.
_AMBIGUOUS = {"grave", "vif", "rapide", "rapido", "lent"}

_PLURAL = re.compile(r"[^s]s$")
_COUNTED = ("instrument", "voice")
# What a bare number may be next to as a tempo.
_BESIDE = ("genre", "key", "metre", "chords", "instrument", "voice", "mood", "use")


def from_quantity(source: Source, q: Quantity) -> bool:
    """Reads a number as a tempo if that is what it is; says whether it did."""
    lead = regex.lead.search(source.before(q.start))
    note = regex.note.search(source.before(q.digits_start, 24))
    if q.unit in ("s", "other"):
        return False
    start = q.start - len(lead[0]) if lead else q.digits_start - len(note[0]) if note else q.start
    said = q.unit == "bpm" or lead is not None or note is not None
    if not said and not _plausible(source, q):
        return False
    start = start if source.free(start, q.end) else q.start
    if not source.free(start, q.end):
        return False
    low, high = _bounds(q)
    if not (SLOWEST_BPM <= low <= high <= FASTEST_BPM):
        source.not_understood(start, q.end, f"a tempo is between {SLOWEST_BPM:.0f} and {FASTEST_BPM:.0f} BPM")
        return True
    words = source.cut(start, q.end)
    if not said:
        source.note(f"'{words}' read as a tempo in BPM")
    quarter = note is None or (note["note"][0] in "cq♩" and not note["note"].startswith("quav"))
    if note is not None and (note["dotted"] or note["dot"] or not quarter):
        source.note(f"'{words}' read as {low:g} beats per minute, whatever note the beat is")
    weight = 2.0 if q.exact else 1.0
    source.add(Mention(start, q.end, "tempo", Tempo(text=words, low_bpm=low, high_bpm=high), weight=weight))
    return True


def in_a_list(source: Source, before: Quantity | None, q: Quantity) -> Quantity:
    """The number in BPM if it goes on a list of tempi: "tempo: 90, 95 or 100", "above 90 and below 110 works"."""
    if before is None or q.unit or not 40 <= q.low <= q.high <= 250 or q.start - before.end > 12:
        return q
    link = source.low[before.end : q.start]
    listed = re.fullmatch(r",? (?:or|and) |,\s?(?:or )?|\s?/\s?|,? but ", link) and (q.bound or before.low < 250)
    counted = regex.next_noun.match(source.low, q.end) and not q.bound
    bare = " and " in link or "but" in link
    return replace(q, unit="bpm") if listed and not counted and (q.bound or not bare) else q


def _plausible(source: Source, q: Quantity) -> bool:
    """Whether a number without a unit can only be a tempo: approximate, a range, after "at", or alone in its clause."""
    if q.unit or q.clock or not (40 <= q.low <= q.high <= 250):
        return False
    follows = source.after(q.end)
    if regex.half_time.match(follows):
        return True
    if regex.next_noun.match(follows):
        return False
    hinted = q.approx or q.span or q.high > q.low or bool(regex.at.search(source.before(q.start)))
    hinted = hinted or bool(regex.said_before.search(source.before(q.start)))
    hinted = hinted or (source.ends_at(q.start - 4) == "tempo" and source.before(q.start, 4) == " or ")
    hinted = hinted or source.before(q.start).rstrip().endswith(("!=", "≠"))
    if q.bound:
        hinted = q.low >= 60 or bool(re.search(r"slow|fast|quick", source.low[q.start : q.digits_start]))
    part_of_something = regex.no_lead.search(source.before(q.start)) or re.match(r"\s?/\s?\d", follows)
    return bool(hinted) or (source.alone(q.start, q.end) and not part_of_something)


def _bounds(q: Quantity) -> tuple[float, float]:
    low, high = q.low, q.high
    if q.margin is not None:
        low, high = low - q.margin, high + q.margin
    elif q.approx:  # "around 110" is 105-115
        low, high = float(round(low * 0.952)), float(round(high * 1.048))
    if q.bound == "below":
        low = SLOWEST_BPM
    elif q.bound == "above":
        high = FASTEST_BPM
    return low, high


def find_words(source: Source) -> None:
    """Finds markings and words; a number in the same query makes them redundant, which is noted."""
    numbered = any(m.kind == "tempo" for m in source.mentions)
    for match in regex.slow_to_fast.finditer(source.low):
        feels = patterns_table()["feel"]
        low, high = feels.get(match[1], feels["medium"])[0], feels.get(match[2], feels["medium"])[1]
        _add_words(source, *match.span(), (low, high), exact=False, numbered=numbered)
    markings: dict[str, list[float]] = patterns_table()["marking"]
    for match in rx(r"\b(<<marking>>)\b(?: <<marking_suffix>>\b)*").finditer(source.low):
        if match[1] in _AMBIGUOUS and not (source.alone(*match.span()) or "tempo" in source.low):
            continue
        if not re.match(r" (?:barocco|di\b)", source.after(match.end())):
            _add_words(source, *match.span(), markings[match[1]], exact=True, numbered=numbered)
    for match in regex.words.finditer(source.low):
        if rx(r"[ -]<<not_tempo>>").match(source.low, match.end()):
            continue
        before = source.before(match.start())
        of_part = regex.adverb_before.search(before) or regex.and_again.match(source.low, match.end())
        if of_part and not regex.never.search(before):
            source.note(f"{source.quote(*match.span())}: the tempo of a part is compared as words only")
        else:
            _add_words(source, *match.span(), _feel(match), exact=False, numbered=numbered)


def _feel(match: re.Match[str]) -> list[float]:
    kind = next(name for name in ("slow", "fast", "medium", "down", "walk") if match[name])
    degree = "very_" if match["very"] else "rather_" if match["rather"] or match[kind].endswith("ish") else ""
    feels: dict[str, list[float]] = patterns_table()["feel"]
    return feels.get(degree + kind, feels[kind])


def _add_words(source: Source, start: int, end: int, bounds: Iterable[float], *, exact: bool, numbered: bool) -> None:
    if not source.free(start, end):
        return
    if numbered:
        source.note(f"{source.quote(start, end)} is compared as a word only: the tempo is given as a number")
        return
    low, high = map(float, bounds)
    words = source.cut(start, end)
    source.note(f"'{words}' read as {low:g}-{high:g} BPM")
    constraint = Tempo(text=words, low_bpm=low, high_bpm=high, exact=exact)
    source.add(Mention(start, end, "tempo", constraint, spoken=True, cue="word"))


def find_beside(source: Source, row: list[Mention | Token]) -> None:
    """Reads bare numbers among nothing but recognised things as a tempo: "deep house Am 122", "trap 75/150"."""
    found = list(quantities(source))
    for q in found:
        if q.bound and not q.unit and source.free(q.start, q.end):
            source.not_understood(q.start, q.end, "a bound without a unit: write BPM, seconds or minutes")
    if any(m.kind == "tempo" and m.cue != "word" for m in source.mentions):
        return
    starts = [item.start for item in row]
    for q in found:
        if q.unit or q.clock or not 60 <= q.low <= q.high <= 220 or q.start != q.digits_start:
            continue
        first, end = bisect_left(starts, q.start), bisect_left(starts, q.end)
        before = next((x for x in reversed(row[max(0, first - 3) : first]) if not _links(x, q.low)), None)
        behind = [x for x in row[end : end + 4] if not _links(x, q.low)]
        after = behind[0] if behind else None
        short = key.beside(source, q.end, after=True) or key.beside(source, q.start, after=False)
        sure = short is not None or any(isinstance(m, Mention) and m.kind == "key" for m in (before, after))
        double = regex.slashed.match(source.low, q.end)
        sure = sure or bool(double and float(double[1]) in (q.low * 2, q.low / 2))
        ranged = q.high > q.low and not isinstance(before, Token)  # "jungle 160-170 amens"
        words = [m for m in (before, after) if isinstance(m, Token) and m.is_word and not ranged]
        if words and (not sure or words[-1].word.endswith("s")):
            continue
        if isinstance(after, Mention) and after.kind in _COUNTED and _PLURAL.search(source.before(after.end)):
            continue  # "100 violins"
        if not sure and len(behind) > 1 and isinstance(behind[1], Token) and _PLURAL.search(behind[1].word):
            continue  # "100 piano songs"
        if sure or ranged or any(isinstance(m, Mention) and m.kind in _BESIDE for m in (before, after)):
            spans = [(q.start, q.end, q.low, q.high)]
            if double and float(double[1]) in (q.low * 2, q.low / 2):
                spans.append((*double.span(1), float(double[1]), float(double[1])))
            for start, stop, low, high in spans:
                said = source.cut(start, stop)
                source.note(f"'{said}' read as a tempo in BPM")
                source.add(Mention(start, stop, "tempo", Tempo(text=said, low_bpm=low, high_bpm=high)))
            if short:
                key.take(source, short)


def _links(item: Mention | Token, bpm: float) -> bool:
    """Whether something between a tempo and its neighbours says nothing: a dash, or its half or double."""
    other = isinstance(item, Token) and item.word in (f"{bpm * 2:g}", f"{bpm / 2:g}")
    return item.kind == "filler" if isinstance(item, Mention) else other or item.word in "-/|@"


def find_strays(source: Source) -> None:
    """Sets apart "bpm" with no number that could be read."""
    for match in regex.stray.finditer(source.low):
        if not source.free(*match.span("unit")):
            continue
        start = match.start("unit")
        if match["word"] and source.free(*match.span("word")) and match["word"] not in words_table()["stop"]:
            start = match.start("word")
        source.not_understood(start, match.end(), "BPM without a number that could be a tempo")
