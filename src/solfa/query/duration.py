"""Lengths of time: how long the track is ("under 3 minutes"), and where in it something is ("after a minute").

A time is a place when the words around it say so (at, after, from, until, "in the first", "2 minutes in"), else it is
the length of the track.
"""

from __future__ import annotations

import re
from dataclasses import replace

from solfa.constraints import LONGEST_S, Duration, Place
from solfa.query.lexis import rx
from solfa.query.place import seen_from
from solfa.query.quantity import NUMBER, Quantity, number_value, suffix
from solfa.query.source import Mention, Source

_SLACK, _ABOUT = 0.05, 0.15  # how far "3 minutes" and "about 3 minutes" reach
_LENGTH_LEAD = r"\b(?:<<length_lead>>|(?:clip|track|song) of)(?:\s?[:=]|\s(?:of|is|for|at|between|from))*\s*$"
_LENGTH_TAIL = r"[\s-]?<<length_tail>>\b"
_SECTION = (
    r"[\s-](?:long )?"
    r"(?:(?P<head><<start_noun>>)|(?P<tail><<end_noun>>)|(?P<other><<bridge_noun>>|<<breakdown_noun>>|solo))\b"
)
_OWN_SECTION = r"[\s-](?:long )?(?:[a-z]+[ -]){1,2}?(?:(?P<head><<start_noun>>)|(?P<tail>outros?|ending|coda))\b"
_PREP = (
    r"(?:\b(?P<only>only|just) )?"
    r"(?:\b(?P<prep><<not_before>>|in|during|for|within|over|after|past|until|till|up to|before|by|from"
    r"|<<not_after>>|except(?: for| in| during)?) )?(?:the |its )?(?:very )?"
)
_EDGE_OF = _PREP + r"\b(?:(?P<first>first|opening|initial)|last|final|closing) $"
_IN = re.compile(r"\s(?:in(?:to (?:it|the \w+))?|mark)(?=\s*(?:$|[,.;!?)]|and\b|then\b|the\b|there\b))")
_AT = re.compile(r"\b(?:at|@|around the|at the|at around|at about)\s*(?:the )?$")
_FROM = r"\b(?:from|after|past|starting (?:at|from)|since|beginning at|<<not_before>>)\s*(?:the )?$"
_ONLY = re.compile(r" (?:only|alone)\b")
_OPENS_WITH = re.compile(r"\b(?:starts?|begins?|opens?|starting|beginning|opening)(?: off)? with(?: about| around)? $")
_MARGIN = re.compile(r"(?:give or take|plus or minus|\+/?-|±)\s?$")
_RELATIVE = re.compile(
    r" (?:later|earlier|(?:after|before) (?:that|this|it|them|the (?!first|last|intro|start|end)))\b"
)
# "An intro no longer than 5 seconds" is no length of the track.
_PART_BEFORE = re.compile(
    r"\b(?:intro(?:duction)?|outro|solo|verse|chorus|hook|bridge|break(?:down)?|drop|ending|coda|gap|pause|riser"
    r"|fade[ -]?(?:in|out)?|build[ -]?up)s? (?:(?:is|of|lasts?|should|must|be|no|not|which|that) )*$"
)
_BEFORE_END = re.compile(r" (?:before|from|to) the (?:very )?(?:end|close|finish)\b")
_STOPS = re.compile(
    r"\b(?:stops?|ends?|leaves?|drops? out|fades?(?: out)?|disappears?|cuts?(?: out)?|finish(?:es)?|goes(?: away)?) $"
)
_FOR = re.compile(r"\bfor (?:the )?$")
_AND_THEN = re.compile(r",? (?:and )?(?:then|before|until|after which)\b")
_OVER = re.compile(r"\b(?:over|done|finished|gone|out|away|silent|ends?|ended|stop(?:s|ped)?) $")
_THEN = re.compile(r"\sof (?:[a-z]+[ -]?){1,4}(?:,? then|,? followed by|,? before|,? and then)\b")
_UNTIL = r"\b(?:until|till|up to|before|by|to|<<not_after>>)\s*(?:the )?$"
_ON = re.compile(r"\s(?:on(?:wards?)?|mark)\b")
_ARTICLE = re.compile(
    r"\b(?P<n>half an?|a|an|one|a couple of|a few|several|half)[ -](?P<unit>second|minute|hour)s?\b"
    r"(?P<half> and a half)?(?! (?:more|less|longer|shorter)\b)"
)
_A_VALUES = {"half an": 0.5, "half a": 0.5, "half": 0.5, "a couple of": 2.0, "a few": 3.0, "several": 4.0}
_UNITS = {"second": 1.0, "minute": 60.0, "hour": 3600.0}
_SHORT = (
    r"\b(?P<very>very |really |extremely )?(?P<how>short|brief|long|lengthy)[ -](?:\w+ )?<<a_recording>>s?\b"
    r"|\bextended (?:mix|version)"
)
_BOUNDS = r"\b(?:(?P<below><<below>>)|(?P<above><<above>>)|(?P<approx><<approx>>)) $"


def from_quantity(source: Source, q: Quantity, *, length_only: bool = False) -> bool:
    """Reads a time as a place (unless ``length_only``) or as a length; says whether it did."""
    if q.unit != "s" or q.high <= 0:
        return False
    start, end = q.start, q.end
    if _MARGIN.search(source.before(start)):
        source.add(Mention(start, end, "filler"))  # "give or take ten seconds"
        return True
    if later := _RELATIVE.match(source.low, end):
        source.not_understood(start, later.end(), "a time that is counted from something else in the track")
        return True
    if _PART_BEFORE.search(source.before(start, 48)):
        source.not_understood(start, end, "the length of a part of the track")
        return True
    if not length_only and _place(source, q):
        return True
    if (section := rx(_OWN_SECTION).match(source.low, end)) and not length_only:
        place = Place(start=0.0, end=0.15, start_s=0.0, end_s=q.high)
        if section["tail"]:
            place = Place(start=0.85, end=1.0, start_s=-q.high)
        source.add(Mention(start, end, "place", place=place, cue="lead"))  # "a 20 second piano intro"
        return True
    if (section := rx(_SECTION).match(source.low, end)) and section["tail"] != "end":
        if section["other"]:
            return False
        head = Place(start=0.0, end=0.15, start_s=0.0, end_s=q.high)
        place = head if section["head"] else Place(start=0.85, end=1.0, start_s=-q.high)
        source.add(Mention(start, section.end(), "place", place=place, cue="noun", spoken=True))
        return True
    tail = rx(_LENGTH_TAIL).match(source.low, end)
    lead = rx(_LENGTH_LEAD).search(source.before(start))
    if tail:
        end = tail.end()
    if lead:
        start -= len(lead[0])
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
    inside = _IN.match(source.low, q.end)
    lower, upper = q.low, q.high
    window = max(5.0, 0.1 * q.low) if not q.clock else 5.0
    place = None
    start, end = q.start, q.end
    around = Place(start=0.0, end=1.0, start_s=max(0.0, lower - window), end_s=upper + window)
    until = Place(start=0.0, end=1.0, event="leaves", start_s=0.0, end_s=upper)
    lead, on = None, _ON.match(source.low, end)
    cue = "time"
    if not q.bound and not q.clock and (_THEN.match(source.after(end)) or _OPENS_WITH.search(before)):
        source.add(Mention(start, end, "place", place=Place(start=0.0, end=0.15, start_s=0.0, end_s=upper), cue="lead"))
        return True
    if ahead := _BEFORE_END.match(source.low, end):
        end, place = ahead.end(), Place(start=0.0, end=1.0, start_s=-q.high)
        if _STOPS.search(before):
            place = Place(start=0.0, end=1.0, event="leaves", end_s=-q.high)
    elif not q.bound and (lead := _FOR.search(before)) and _AND_THEN.match(source.low, end):
        place = Place(start=0.0, end=1.0, start_s=0.0, end_s=upper)
    elif not q.bound and (lead := rx(_EDGE_OF).search(before)):
        place, cue = _at_edge(lead, upper)
        if after := _ONLY.match(source.low, end):
            end, place = after.end(), replace(place, event="only")
    elif inside and not q.bound and not (rx(_FROM).search(before) or rx(_UNTIL).search(before)):
        end, place = inside.end(), replace(around, event="enters")
    elif lead := rx(_FROM).search(before):
        end = inside.end() if inside else on.end() if on else end
        place = replace(around, event="enters", start_s=lower, end_s=None)
    elif rx(_LENGTH_TAIL).match(source.low, q.end):
        return False
    elif q.span and q.clock and q.high > q.low:
        place = replace(around, start_s=lower, end_s=upper)
    elif lead := _AT.search(before):
        end, place = on.end() if on else end, around
    elif lead := rx(_UNTIL).search(before):
        by = (lead[0][:2] == "by" or "later than" in lead[0]) and not _OVER.search(
            source.before(q.start - len(lead[0]))
        )
        place = replace(until, event="enters") if by else until
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


def _at_edge(match: re.Match[str], length_s: float) -> tuple[Place, str]:
    """The first or the last seconds, as the preposition before them sees them."""
    edge = Place(start=0.0, end=0.3, start_s=0.0, end_s=length_s)
    if not match["first"]:
        edge = Place(start=0.7, end=1.0, start_s=-length_s)
    place, cue = seen_from(match["prep"] or "", edge)
    place = replace(place, event="only") if match["only"] and place.event == "in" else place
    return place, "time" if cue == "adverb" else cue


_ORDINALS = ["second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"]
_NTH = _PREP + rf"\b(?:(?P<n>{'|'.join(_ORDINALS)}) minute|minute (?P<number>{NUMBER}))\b(?: on(?:wards?)?\b)?"
_EDGE = (
    _PREP + r"\b(?:(?P<first>first|opening)|last|final|closing) (?P<unit>second|minute|hour)\b(?P<half> and a half)?"
)


def find(source: Source) -> None:
    """Reads "half a minute", "the last minute", and "short track" (numbers come through ``from_quantity``)."""
    for match in source.matches(rx(_EDGE)):
        place, cue = _at_edge(match, _UNITS[match["unit"]] * (1.5 if match["half"] else 1.0))
        source.add(Mention(*match.span(), "place", place=place, cue=cue))
    for match in source.matches(rx(_NTH)):
        n = _ORDINALS.index(match["n"]) + 2 if match["n"] else int(number_value(match["number"]))
        stretch = Place(start=0.0, end=1.0, start_s=60.0 * (n - 1), end_s=60.0 * n)
        place, cue = seen_from(match["prep"] or "", stretch)
        source.add(Mention(*match.span(), "place", place=place, cue="time" if cue == "adverb" else cue))
    for match in source.matches(_ARTICLE):
        value = (_A_VALUES.get(match["n"], 1.0) + (0.5 if match["half"] else 0.0)) * _UNITS[match["unit"]]
        left = rx(_BOUNDS).search(source.before(match.start()))
        bound = "" if left is None else "below" if left["below"] else "above" if left["above"] else ""
        approx = match["n"] in ("a couple of", "a few", "several") or bool(left and left["approx"])
        start = match.start() - (len(left[0]) if left else 0)
        end, about, bound = suffix(source.low, match.end(), bound)
        approx = approx or about
        q = Quantity(start, end, value, value, "s", approx=approx, bound=bound, digits_start=match.start())
        from_quantity(source, q)
    for match in source.matches(rx(_SHORT)):
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
