"""Lengths of time: how long the track is ("under 3 minutes"), and where in it something is ("after a minute").

A time is a place when the words around it say so (at, after, from, until, "in the first", "2 minutes in"), else it is
the length of the track.
"""

import re
from dataclasses import replace

from solfa.constraints import LONGEST_S, Duration, Place
from solfa.query.lexis import Regexes, patterns_table
from solfa.query.place import seen_from
from solfa.query.quantity import Quantity, number_value
from solfa.query.source import Mention, Source

regex = Regexes("duration")

_SLACK, _ABOUT = 0.05, 0.15  # how far "3 minutes" and "about 3 minutes" reach


def from_quantity(source: Source, q: Quantity, *, length_only: bool = False) -> bool:
    """Reads a time as a place (unless ``length_only``) or as a length; says whether it did."""
    if q.unit != "s" or q.high <= 0:
        return False
    start, end = q.start, q.end
    if regex.margin.search(source.before(start)):
        source.add(Mention(start, end, "filler"))  # "give or take ten seconds"
        return True
    if later := regex.relative.match(source.low, end):
        source.not_understood(start, later.end(), "a time that is counted from something else in the track")
        return True
    if regex.part_before.search(source.before(start, 48)) and not _happens_about(source, q):
        source.not_understood(start, end, "the length of a part of the track")
        return True
    if not length_only and _place(source, q):
        return True
    section = regex.own_section.match(source.low, end) or regex.section_behind.match(source.low, end)
    if section and section["tail"] != "end" and not length_only:
        own = "other" not in section.groupdict()  # "a 20 second piano intro"
        if not own and section["other"]:
            return False
        place, stop = _edge(q.high, last=bool(section["tail"])), end if own else section.end()
        source.add(Mention(start, stop, "place", place=place, cue="lead" if own else "noun", spoken=not own))
        return True
    tail = regex.length_behind.match(source.low, end)
    lead = regex.length_before.search(source.before(start))
    end, start = tail.end() if tail else end, start - len(lead[0]) if lead else start
    if not source.free(start, end):
        start, end = q.start, q.end
    low, high = _bounds(q)
    words = source.cut(start, end)
    if q.clock and not (lead or tail or q.approx or q.bound):
        source.note(f"'{words}' read as the length of the track")
    constraint = Duration(text=words, low_s=low, high_s=min(high, LONGEST_S))
    source.add(Mention(start, end, "duration", constraint, weight=2.0 if q.exact else 1.0))
    return True


def _bounds(q: Quantity) -> tuple[float, float]:
    low, high = q.low, q.high
    if q.bound == "below":
        return 0.0, high
    if q.bound == "above":
        return low, LONGEST_S
    slack = _ABOUT if q.approx else 0.01 if q.exact else _SLACK
    if q.high > q.low and not q.approx:
        slack = 0.0
    return round(low * (1 - slack), 1), round(high * (1 + slack), 1)


def _place(source: Source, q: Quantity) -> bool:
    """Adds a place if the words around the time make it one."""
    before = source.before(q.start)
    inside = regex.into.match(source.low, q.end)
    lower, upper = q.low, q.high
    window = max(5.0, 0.1 * q.low) if not q.clock else 5.0
    place = None
    start, end = q.start, q.end
    around = Place(start=0.0, end=1.0, start_s=max(0.0, lower - window), end_s=upper + window)
    until = Place(start=0.0, end=1.0, event="leaves", start_s=0.0, end_s=upper)
    lead, on = None, regex.on.match(source.low, end)
    cue = "time"
    if not q.bound and not q.clock and (regex.then.match(source.after(end)) or regex.opens_with.search(before)):
        source.add(Mention(start, end, "place", place=_edge(upper), cue="lead"))
        return True
    if ahead := regex.before_end.match(source.low, end):
        end, place = ahead.end(), _edge(upper, last=True)
        if regex.stops.search(before):
            place = Place(start=0.0, end=1.0, event="leaves", end_s=-q.high)
    elif not q.bound and (lead := regex.for_so_long.search(before)) and regex.and_then.match(source.low, end):
        place = _edge(upper)
    elif not q.bound and (lead := regex.edge_of.search(before)):
        place, cue = _at_edge(lead, upper)
        if after := regex.only_behind.match(source.low, end):
            end, place = after.end(), replace(place, event="only")
    elif inside and not q.bound and not (regex.since.search(before) or regex.until.search(before)):
        end, place = inside.end(), replace(around, event="enters")
    elif lead := regex.since.search(before):
        end = inside.end() if inside else on.end() if on else end
        place = replace(around, event="enters", start_s=lower, end_s=None)
    elif regex.length_behind.match(source.low, q.end):
        return False
    elif q.span and q.clock and q.high > q.low:
        place = replace(around, start_s=lower, end_s=upper)
    elif (lead := regex.at.search(before)) or _happens_about(source, q):
        end, place = on.end() if on else end, around
    elif lead := regex.until.search(before):
        by = lead[0].startswith("by") or "later than" in lead[0]
        over = regex.over.search(source.before(q.start - len(lead[0])))
        place = replace(until, event="enters") if by and not over else until
        end = inside.end() if inside else end  # "until the two minute mark"
    elif q.clock and q.high > q.low and "min" not in source.low[q.digits_start : q.end]:
        place = replace(around, start_s=lower, end_s=upper)
    elif q.bound == "below" and source.low.startswith("up to", q.start) and q.clock:
        place = until
    start -= len(lead[0]) if lead else 0
    if place is None or not source.free(start, end):
        return False
    cue = "until" if place is until else cue
    source.add(Mention(start, end, "place", place=place, cue=cue))
    return True


def _happens_about(source: Source, q: Quantity) -> bool:
    """Whether something happens about then: "the band comes in around 0:45", "a key change near 2:00"."""
    near = regex.near.match(source.low, q.start) or regex.happens.search(source.before(q.start))
    return q.clock and q.approx and near is not None


def _edge(length_s: float, *, last: bool = False) -> Place:
    """The first or the last seconds of the track."""
    if last:
        return Place(start=0.7, end=1.0, start_s=-length_s)
    return Place(start=0.0, end=0.3, start_s=0.0, end_s=length_s)


def _at_edge(match: re.Match[str], length_s: float) -> tuple[Place, str]:
    """The first or the last seconds, as the preposition before them sees them."""
    place, cue = _seen_from(match["prep"], _edge(length_s, last=not match["first"]))
    return replace(place, event="only") if match["only"] and place.event == "in" else place, cue


def _seen_from(prep: str | None, stretch: Place) -> tuple[Place, str]:
    place, cue = seen_from(prep or "", stretch)
    return place, "time" if cue == "adverb" else cue


def find(source: Source) -> None:
    """Reads "half a minute", "the last minute", and "short track" (numbers come through ``from_quantity``)."""
    for match in source.matches(regex.edge):
        place, cue = _at_edge(match, patterns_table()["unit_s"][match["unit"]] * (1.5 if match["half"] else 1.0))
        source.add(Mention(*match.span(), "place", place=place, cue=cue))
    for match in source.matches(regex.nth):
        n = patterns_table()["ordinal"].index(match["n"]) + 2 if match["n"] else int(number_value(match["number"]))
        stretch = Place(start=0.0, end=1.0, start_s=60.0 * (n - 1), end_s=60.0 * n)
        place, cue = _seen_from(match["prep"], stretch)
        source.add(Mention(*match.span(), "place", place=place, cue=cue))
    for match in source.matches(regex.short):
        if any(m.kind == "duration" for m in source.mentions):
            continue
        short = match["how"] in ("short", "brief")
        limit = (60.0 if short else 600.0) if match["very"] else (120.0 if short else 360.0)
        low, high = (0.0, limit) if short else (limit, LONGEST_S)
        words = source.cut(match.start(), match.end())
        source.note(f"'{words}' read as {'under' if short else 'over'} {limit / 60:g} min")
        end = match.end("how") if match["how"] else match.end()
        constraint = Duration(text=words, low_s=low, high_s=high)
        source.add(Mention(match.start(), end, "duration", constraint, spoken=True, cue="word"))
