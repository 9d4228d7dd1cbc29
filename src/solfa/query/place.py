"""Where in the track: "starts with piano", "drums come in late", "near the end", "in the second half".

Places are found here and attached to what they refer to by ``attach``: a leading one ("starts with ...") to what
follows in its clause, a trailing one ("... in the second half") to the nearest thing before it and what "and" joins.
"""

import re
from bisect import bisect
from dataclasses import replace
from typing import Literal

from solfa.constraints import Constraint, Dynamics, Place, Presence
from solfa.query.lexis import Regexes, patterns_table, rx, whole
from solfa.query.source import Mention, Source, Token

regex = Regexes("place")

Item = Mention | Token


def find_fractions(source: Source) -> None:
    """Finds "3/4 of the way in", before it can be taken for a metre."""
    for match in regex.fraction.finditer(source.low):
        if match["words"]:
            at = patterns_table()["fraction_word"][match["words"]]
        elif 0 < int(match["a"]) < int(match["b"]):
            at = int(match["a"]) / int(match["b"])
        else:
            continue
        around = Place(start=round(max(0.0, at - 0.1), 3), end=round(min(1.0, at + 0.1), 3))
        _add(source, match.start(), match.end(), around, "adverb")


def find(source: Source) -> None:
    """Finds places and the verbs that say what happens there."""
    for match in source.matches(regex.song_form):  # no places that can be measured: ``attach`` says so where it matters
        after = match["prep"].startswith(("until", "till", "before", "up to", "after", "not ", "no "))
        anywhere = Place(start=0.1 if after else 0.0, end=1.0)
        source.add(Mention(*match.span(), "place", place=anywhere, cue="unmeasured", spoken=True))
    for match in regex.adverbial.finditer(source.low):
        _adverbial(source, match)
    for name, (low, high) in patterns_table()["adverb"].items():
        for match in whole(f"(?:(?P<prep><<turning>>) )?<<{name}>>").finditer(source.low):
            place, cue = seen_from(match["prep"] or "", Place(start=low, end=high))
            _add(source, match.start(), match.end(), place, cue)
    for match in source.matches(regex.sometime):  # "until the fight starts": only what must not be before depends on it
        source.add(Mention(*match.span(), "place", place=Place(start=0.1, end=1.0), cue="sometime", spoken=True))
    for match in source.matches(regex.events):
        again = "event" in (m.kind for m in source.mentions[-1:]) and source.before(match.start(), 5).endswith(" and ")
        if again or source.audible_before(match.start()):
            cue = "enters" if match["in"] else "leaves" if match["out"] else "swap"
            source.add(Mention(*match.span(), "event", cue=cue))
    things = {m.start for m in source.mentions if m.kind in ("instrument", "voice", "sound")}
    for match in source.matches(regex.object):
        if match.end() in things:
            source.add(Mention(*match.span("verb"), "event", cue="enters" if match["in"] else "leaves"))
    for match in regex.noun.finditer(source.low):
        start = match.start("noun")
        if match["noun"].endswith("ing") and re.match(r" (?:with|on|by)\b", source.after(match.end())):
            continue  # "ending with strings" is a verb
        adjective = source.audible_before(start, ("instrument", "voice", "sound", "mood", "dynamics", "genre"))
        excepted = re.search(r"\b(?:except|but) (?:for )?(?:the )?$", source.before(start))
        if adjective or excepted or whole("<<noun_alone>>").fullmatch(match["noun"]):
            low, high = section(match["noun"])
            _add(source, start, match.end(), Place(start=low, end=high), "noun", spoken=True)
    for match in source.matches(regex.leads):
        if not re.match(r" (?:the|of|at|in|around|near)\b", source.after(match.end())):
            low, high = patterns_table()["section"]["start_noun" if match["start"] else "end_noun"]
            _add(source, match.start(), match.end(), Place(start=low, end=high), "lead")


def section(noun: str) -> tuple[float, float]:
    """Start and end of a named section as fractions of the track.

    >>> section("intro"), section("second half")
    ((0.0, 0.15), (0.5, 1.0))
    """
    sections: dict[str, list[float]] = patterns_table()["section"]
    low, high = next((span for name, span in sections.items() if rx(f"<<{name}>>").fullmatch(noun)), (0.0, 1.0))
    return low, high


def seen_from(prep: str, place: Place) -> tuple[Place, str]:
    """The place that a preposition makes of a stretch, and its cue: after it, until it, from it on, all but it.

    >>> place, cue = seen_from("after", Place(start=0.0, end=0.15))
    >>> place.start, place.end, place.event, cue
    (0.15, 1.0, 'enters', 'adverb')
    """
    at_start = place.end_s is not None and place.end_s > 0 and not place.start_s if place.absolute else place.end <= 0.5
    if prep.endswith("later than"):
        return Place(start=0.0, end=place.end, end_s=place.end_s, event="enters"), "adverb"
    if prep.startswith(("not ", "no ", "never ")):  # "no sooner than the last minute", "no later than the end"
        prep = "until" if prep.endswith(("after", "later than")) else "from"
    if prep.startswith(("until", "till", "before", "prior", "up to", "by")):
        edge, edge_s = (place.end, place.end_s) if at_start else (place.start, place.start_s)
        return Place(start=0.0, end=edge, end_s=edge_s, event="leaves"), "until"
    if prep.startswith(("after", "past", "following")):
        return Place(start=place.end, end=1.0, start_s=place.end_s, event="enters"), "adverb"
    if prep.startswith("except"):
        rest = rest_of(place)
        return (place, "around") if rest is None else (rest, "adverb")
    if prep.startswith("from") and not at_start:
        return replace(place, end=1.0, event="enters"), "adverb"
    return place, "adverb"


def rest_of(place: Place) -> Place | None:
    """The track but for a place; None where that is in two parts.

    >>> rest_of(Place(start=0.0, end=0.15)), rest_of(Place(start=0.4, end=0.6))
    (Place(start=0.15, end=1.0, event='enters', start_s=None, end_s=None), None)
    """
    if place.event == "leaves" or (place.event != "enters" and place.start == 0 and not place.start_s):
        return Place(start=place.end, end=1.0, start_s=place.end_s, event="enters")
    if place.event == "enters" or place.end == 1:
        return Place(start=0.0, end=place.start, end_s=place.start_s, event="leaves")
    return None


def _adverbial(source: Source, match: re.Match[str]) -> None:
    low, high = section(match["noun"])
    prep, only, cue = match["prep"], (match["only"] or "").strip(), "adverb"
    event: Literal["in", "enters", "leaves", "only"] = "in"
    excepted = only.startswith(("except", "apart", "aside"))
    turned, turned_cue = seen_from("except" if excepted else prep, Place(start=low, end=high))
    if turned_cue == "around":
        cue = turned_cue
    elif prep != "by" and turned.event != "in":
        low, high, event, cue = turned.start, turned.end, turned.event, turned_cue
    elif prep in ("near", "nearing", "toward", "towards", "around", "close to", "by", "about") and not match["very"]:
        low, high = (low, high + 0.1) if low == 0 else (low - 0.1, high)
    if match["very"]:
        low, high = (0.0, 0.1) if low == 0 else (0.9, 1.0) if high == 1 else (low, high)
    if only in ("only", "just") or prep.startswith("only") or match["after"]:
        event = "only"
    start = match.start()
    place = Place(start=round(max(0.0, low), 3), end=round(min(1.0, high), 3), event=event)
    _add(source, start, match.end(), place, cue)


def _add(source: Source, start: int, end: int, place: Place, cue: str, *, spoken: bool = False) -> None:
    if source.free(start, end):
        source.add(Mention(start, end, "place", place=place, cue=cue, spoken=spoken))


# --- attaching ------------------------------------------------------------------------------------------------------

_JOINS = {"and", "or", "&", "plus", "/", "+"}
_STOPS = {"with", "featuring", "over", "then", "but", "while", "has", "have", "is", "are"}
_MOVING = ("rises", "falls", "varies")
_SMALL = ("the", "its", "in", "at", "during", "for")
_REACH = 24  # words and things: how far a place looks for what it refers to
_PLACED = ("instrument", "voice", "sound", "dynamics", "mood", "genre")


def attach(source: Source, clauses: list[list[Item]]) -> None:
    """Gives every place of a clause to the things it refers to; says so where there are none."""
    waiting: list[Mention] = []
    before: list[Mention] = []  # the things of the clause before
    opened = False  # whether an earlier clause spoke of the start: "piano intro, then drums"
    for clause in clauses:
        mentions = [i for i in clause if isinstance(i, Mention)]
        things = [m for m in mentions if m.kind in _PLACED]
        places = [(i, m) for i, m in enumerate(clause) if isinstance(m, Mention) and m.kind == "place"]
        events = [(i, m) for i, m in enumerate(clause) if isinstance(m, Mention) and m.kind == "event"]
        denied = {m.end + 1 for m in mentions if m.kind == "negation"}
        events = [e for e in events if e[1].cue == "enters" or e[1].start not in denied]  # "the drums never stop"
        event = events[0][1] if events else None
        given: list[Mention] = []
        first = clause[0]
        if waiting and things:
            for earlier in waiting:
                _give(source, earlier, things[:_REACH], event)
        elif event and not places:
            found = _before(clause, events[0][0], noun=False) or things[:1]
            _give(source, Mention(event.start, event.end, "place", place=Place(start=0.1, end=1.0)), found, event)
        elif isinstance(first, Token) and first.word in ("then", "before") and opened and not places:
            later = Mention(first.start, first.end, "place", place=Place(start=0.15, end=1.0))
            _give(source, later, [m for m in things if m.kind != "genre"], None)
        waiting = [] if things else waiting
        words = any(isinstance(i, Token) and i.is_word for i in clause)
        nothing_else = not words and len(mentions) == len(places) + len(events)
        if before and len(places) == 1 and _afterthought(source, clause):
            place = places[0][1]
            if _denied(clause, clause.index(place)) and not before[-1].negated:  # "drums, though not in the intro"
                _turn(place)
            _give(source, place, before[-1:], None)
            continue
        for at, place in places:
            opened = opened or (place.place is not None and place.place.start == 0.0)
            i = bisect(events, at, key=lambda e: e[0])
            near = min(events[max(0, i - 1) : i + 1], key=lambda e: abs(e[0] - at)) if events else None
            found = _targets(clause, at, place)
            between = clause[slice(*sorted((at, near[0])))] if near and abs(near[0] - at) <= _REACH else []
            other = any(isinstance(m, Mention) and m.kind in _PLACED and m not in found for m in between)
            nearest = near[1] if near and not other else None  # "bring the vocals in late and take the drums out"
            if found:
                if _denied(clause, at) and found[0].start < place.start and not found[0].negated:
                    _turn(place)
                _give(source, place, found, nearest)
            elif nearest is not None and given:
                found = given  # "strings enter at 1:00 and leave at 2:00"
                _give(source, place, found, nearest)
            elif nothing_else and before and source.low.startswith("except", place.start):
                _give(source, place, before[-1:], None)
            elif place.cue in ("unmeasured", "sometime"):
                _give(source, place, [], nearest)
            elif nothing_else:
                waiting.append(place)
            else:
                _unattached(source, place)
            given = found or given
        before = things or before


def _afterthought(source: Source, clause: list[Item]) -> bool:
    """Whether a clause says nothing but where the thing before it is: "drums, but only in the second half"."""
    lead = re.search(r"\b(?:but|though|although)(?: only| not)? $", source.before(clause[0].start, 16))
    first = clause[0]
    opens = first.word in ("though", "although") if isinstance(first, Token) else first.cue in ("not", "never")
    if not lead and not opens:
        return False
    small = {"though", "although", "only", "just", "not"}
    return all(i.kind in ("place", "negation") if isinstance(i, Mention) else i.word in small for i in clause)


def _denied(clause: list[Item], at: int) -> bool:
    """Whether a place is shut out: "strings not in the intro", "strings everywhere except the ending"."""
    near = [i for i in clause[max(0, at - 3) : at] if isinstance(i, Mention) or i.word not in _SMALL]
    before = near[-1] if near else None
    return isinstance(before, Mention) and before.kind == "negation" and before.cue in ("not", "never", "exception")


def _turn(place: Mention) -> None:
    """Makes a place that is shut out the rest of the track."""
    if place.place is not None and place.cue not in ("unmeasured", "sometime"):
        rest = rest_of(place.place)
        place.place, place.cue = (place.place, "around") if rest is None else (rest, "adverb")


def _unattached(source: Source, place: Mention) -> None:
    if place.cue in ("adverb", "time", "until"):
        source.note(f"{source.quote(place.start, place.end)} is compared as words: nothing measurable goes with it")
    place.spoken = True


def _targets(clause: list[Item], at: int, place: Mention) -> list[Mention]:
    following: list[Mention] = []
    for item in clause[at + 1 : at + _REACH]:
        if not isinstance(item, Mention):
            continue
        moving = isinstance(item.constraint, Dynamics) and item.constraint.shape in _MOVING
        if item.kind == "place" or (place.cue == "lead" and moving):
            break
        if item.kind in _PLACED:
            following.append(item)
    if place.cue == "lead":
        return following
    preceding = _before(clause, at, noun=place.cue == "noun")
    if place.cue == "noun" and not preceding:
        after = clause[at + 1] if at + 1 < len(clause) else None
        if isinstance(after, Token):
            return following if after.word in ("with", "of", "on", "featuring", "is", "has", "have") else []
        return following if after and after.kind == "negation" and after.cue.startswith(("with", "lack")) else []
    return preceding or following


def _before(clause: list[Item], at: int, *, noun: bool) -> list[Mention]:
    """The nearest mention before a position, and those that "and" or "or" joins to it."""
    found: list[Mention] = []
    joined, apart = True, False
    for item in reversed(clause[max(0, at - _REACH) : at]):
        if isinstance(item, Token):
            if item.word in _STOPS and found:
                break
            apart = apart or (bool(found) and item.word in ("a", "an"))  # "drums and a sax solo at the end"
            joined = joined or (item.word in _JOINS and not apart)
        elif item.kind in _PLACED:
            same = not found or item.family == found[0].family
            if not (joined and same) and not (noun and item.kind in ("dynamics", "mood")):
                break
            found.append(item)
            joined = False
        elif (item.kind == "place" and not found) or (found and item.kind not in ("weight", "negation", "plain")):
            break
    return found


def _give(source: Source, place: Mention, targets: list[Mention], event: Mention | None) -> None:
    assert place.place is not None
    if place.cue == "sometime" and not any(t.negated for t in targets):
        return
    if place.cue in ("unmeasured", "sometime", "around"):
        first = source.low[place.start : place.end].split()[0]
        if place.cue != "around" and first in ("in", "at", "during") and not any(t.negated for t in targets):
            return
        source.not_understood(place.start, place.end, "no place in the track that is measured")
        place.spoken = False
        for target in [] if first in ("except", "apart", "aside") else targets:
            if target.negated and place.place.start > 0:
                target.negated = False  # "no drums until the chorus": there are drums
            elif target.negated:
                target.constraint = None
        return
    swap = event if event is not None and event.cue == "swap" else None
    for target in targets:
        where = place.place
        if swap:  # "the guitar gives way to an organ"
            event = Mention(*(swap.start, swap.end), "event", cue="leaves" if target.start < swap.start else "enters")
        if event is not None and event.cue == "enters" and place.start == event.start and target.negated:
            continue  # "the drums never come in"
        if target.negated and where.event in ("enters", "leaves") and event is None and place.cue != "until":
            where = replace(where, event="in")  # "no vocals after 1:00"
        if place.cue == "until" and target.negated:
            target.negated = False  # "no drums until the end": they are there, but not before
            where = rest_of(where) or where
        elif isinstance(target.constraint, Presence) and event is not None and where.event != "only":
            if event.cue == "leaves" and source.low.startswith("for ", place.start):  # "for the last minute"
                where = Place(start=0.0, end=where.start, end_s=where.start_s)
            where = replace(where, event="enters" if event.cue == "enters" else "leaves")
        if target.place is not None and (target.place.event, where.event) == ("enters", "leaves"):
            # "strings enter at 1:00 and leave at 2:00"
            where = replace(where, start=target.place.start, start_s=target.place.start_s, event="only")
        target.place = where


def placed(constraint: Constraint, place: Place) -> Constraint:
    """The constraint at a place; "soft" at a place is a matter of loudness."""
    if isinstance(constraint, Presence):
        if constraint.concept == "soft":
            return Dynamics(text=constraint.text, shape="quiet", place=place)
        return replace(constraint, place=place)
    if place.event == "enters":  # loud from there on, quiet until there: measured against the rest of the track
        place = replace(place, end=1.0, end_s=None, event="in")
    elif place.event == "leaves":
        place = replace(place, start=0.0, start_s=None, event="in")
    return replace(constraint, place=place) if isinstance(constraint, Dynamics) else constraint
