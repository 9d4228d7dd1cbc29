"""Questions about one track, answered by rule: what was measured, where, and how surely.

A question is read with the words of a search (``query``) and those of ``questions.toml``. Nothing is guessed: what is
not measured, and words that are not understood, are named.
"""

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from statistics import fmean, median
from types import SimpleNamespace
from typing import Any, Literal, cast

import numpy as np

from solfa.collection.attributes import measured
from solfa.constraints import Constraint, Measured, Place, Presence, Tempo, Unbased
from solfa.constraints.base import Tracks
from solfa.core.errors import InputError
from solfa.core.files import table_of
from solfa.core.filters import PRESENT
from solfa.core.intervals import merged
from solfa.core.text import clock, is_latin, plain
from solfa.core.theory import Chord
from solfa.core.types import Analysis, Estimate
from solfa.core.vocabulary import concept, lineage
from solfa.language.narrate import Claim, certainty_of, narrate, spelled
from solfa.language.timeline import named, timeline
from solfa.llm import ModelClient, data_block
from solfa.query import parse
from solfa.query.lexis import empty_words, patterns_table, whole
from solfa.query.parser import detect
from solfa.query.source import Source
from solfa.relevance import summarize
from solfa.retrieval.evidence import describe

_TABLE, _MOST_CHARS, _MOST_NAMED = table_of("solfa.language", "questions.toml"), 1000, 12
_TOPICS = ("key", "tempo", "metre", "chords", "genre", "mood", "energy", "loudness", "form", "instruments", "overview")
_WHEN = ("how_often", "leaves", "enters", "long", "when")  # what is asked of an instrument or voice
_LABELS = {"instruments": ("instrument", "voice"), "mood": ("mood", "use")}  # of constraints
_NEAR_S, _LEAST_QUOTE = 5.0, 3  # of a time in an option; letters
_STEADY, _LOUD_S, _EDGE_S, _CLEAR = 0.05, 3.0, 2.0, 0.1  # of tempi; the loudest place; near an edge; of energy 0..1
_ALL = 0.95  # of the time, to be there throughout
_PARTLY = 0.7  # how sure at most is what was concluded of parts
_EXAMPLE = "Ask in English, such as 'when do the drums enter?', 'what key is it in?' or 'is there a piano?'"
Spans = Sequence[tuple[float, float]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """What is answered: ``text`` in words, and the claims in it; none where ``status`` is another than "answered"."""

    question: str
    status: Literal["answered", "not measured", "not understood"]
    text: str
    claims: tuple[Claim, ...] = ()


class _NotMeasured(Exception):
    """What is asked is not measured, or not there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Asked:
    """A question read: its form, topics and events; concepts, constraints and a place; what was not understood."""

    said: Set[str]
    things: tuple[str, ...]
    constraints: Sequence[Constraint]
    place: Place | None
    unmeasured: str
    unknown: tuple[str, ...]


def ask(analysis: Analysis, question: str) -> Reply:
    """The answer to a question in English about one track, from its analysis alone.

    Raises InputError if the question is blank or longer than 1,000 characters.
    """
    asked = _read(question)
    why, unread = asked.unmeasured, ", ".join(map(repr, asked.unknown)) or "what is asked of the track"
    if is_latin(question) and not why and not asked.unknown:
        try:
            claims = tuple(_claims(analysis, asked))
            if claims:
                known = any(c.value != "not measured" for c in claims)
                if not known and analysis.loudness_lufs.value is None:
                    raise _NotMeasured("there is no sound in it")
                return Reply(question=question, status="answered" if known else "not measured", claims=claims,
                              text=" ".join(c.text for c in claims))  # fmt: skip
        except _NotMeasured as reason:
            why = str(reason) if analysis.loudness_lufs.value is not None else "there is no sound in it"
    if why and is_latin(question):
        return Reply(question=question, status="not measured", text=f"Not measured: {why}.")
    return Reply(question=question, status="not understood", text=f"Not understood: {unread}. {_EXAMPLE}")


def shown_to_model(analysis: Analysis | None) -> str:
    """What a model reads of a track: its summary and timeline as JSON between marks, the word of nobody else."""
    return data_block(None if analysis is None else {**summarize(analysis).known(), **plain(timeline(analysis), 2)})


def ask_model(analysis: Analysis, question: str, client: ModelClient) -> Reply:
    """A language model's answer from summary and timeline; it counts only with quotes that are in what it was shown.

    Raises InputError and SolfaError as ``ModelClient.ask`` and ``ask`` do.
    """
    _read(question)  # whether it is one
    data, model = shown_to_model(analysis), client.endpoint.model

    def fault(said: Mapping[str, Any]) -> str:
        wrong = [quote for quote in said["quotes"] if len(quote) < _LEAST_QUOTE or quote not in data]
        none = said["known"] == "yes" and not said["quotes"]
        return f"not in the data: {wrong[0]!r:.80}" if wrong else "no quote supports the answer" if none else ""

    form = _TABLE["model"]
    said, why = client.ask_checked(form["system"], f"{data}\n{question}", form["schema"], fault)
    if said is None:
        return Reply(question=question, status="not understood", text=f"No answer of {model} that can be used: {why}.")
    text = f"In the words of {model}: {said['answer']}"
    word = Claim(text=text, start_s=0.0, end_s=analysis.duration_s, field="model", value="; ".join(said["quotes"]),
                 confidence=0.0, certainty="perhaps", maker=model)  # fmt: skip
    return Reply(question=question, status="answered" if said["known"] == "yes" else "not measured", text=text,
                  claims=(word,))  # fmt: skip


def choose(analysis: Analysis | None, question: str, options: Sequence[str]) -> int | None:
    """The place of the option that is most probable by what was measured; None where none answers the question.

    Without an analysis it is the first option of the kind that is asked for: what texts alone give away. Nothing longer
    than ``ask`` takes is answered, such as notation.

    Raises InputError if the question is blank.
    """
    if len(question.strip()) > _MOST_CHARS:
        return None
    q, fits = _read(question), dict[int, float]()
    labels = {label for topic in q.said & {*_TOPICS} for label in _LABELS.get(topic, (topic,))}
    first = None if analysis is None else next(iter(ask(analysis, question).claims), None)
    track = None if analysis is None else measured(analysis)
    for place, option in enumerate(options):
        if q.things and "yes_no" not in q.said and (time := re.fullmatch(r"\D*(\d+):(\d\d)\D*", option)):
            value = first.value if first and isinstance(first.value, int | float) else np.inf
            fits[place] = _NEAR_S - abs(60 * int(time[1]) + int(time[2]) - value) if analysis else 1.0
        elif "yes_no" in q.said and (said := re.match("yes|no\\b", option.strip().lower())):
            fits[place] = float(first is None or said[0] == first.value)
        elif read := [c for c in parse(option).constraints if c.label in labels]:
            fits[place] = fmean(_probability(c, track) for c in read) if track else 1.0
    best = max(fits.values(), default=0.0)
    chosen = [place for place, fit in fits.items() if fit == best > 0]
    return chosen[0] if chosen and (analysis is None or len(chosen) == 1) else None


def _probability(constraint: Constraint, track: Measured) -> float:
    """P(satisfied) of one track, as a search has it."""
    if constraint.needs_timeline:
        return float(constraint.from_timelines(track.table, np.zeros(1, np.intp), [track.timeline]).p[0])
    found = constraint.from_columns(cast(Tracks, SimpleNamespace(attributes=lambda: track.table)))
    if isinstance(found, Unbased):
        found = found.based(*found.counted())
    return 0.0 if found is None else float(found.p[0])


def _read(question: str) -> _Asked:
    if not 0 < len(text := question.strip()) <= _MOST_CHARS:
        raise InputError(f"a question of {len(text):,} characters, expected 1 to {_MOST_CHARS:,}. {_EXAMPLE}")
    while (polite := re.match("|".join(_TABLE["polite"]), text, re.I)) and polite.end() < len(text):
        text = text[polite.end() :]
    if re.match(_TABLE["yes_no"], text, re.I):  # "do vocals appear at 1:00?": are they there, not: do they enter
        text = re.sub(r"(?i)\bappears?\b", "play", text)
    for said_as, meant in _TABLE["rewrite"]:
        text = re.sub(said_as, meant, text, flags=re.I)
    source = Source.of(text)
    verb = re.match(_TABLE["yes_no"], source.low)
    source.claim(0, verb.end() if verb else 0)

    def look(*groups: str) -> Iterator[str]:
        tables = [(name, words) for group in groups for name, words in _TABLE[group].items()]
        found = [(match.span(), name) for name, words in tables for match in source.matches(_any(words))]
        for (start, end), name in sorted(found, key=lambda f: f[0][0] - f[0][1]):  # the longest first
            if source.free(start, end):
                source.claim(start, end)
                yield from name.split(" and ") if re.fullmatch(r"\w+( and \w+)*", name) else [name]

    unmeasured = next(iter([*look("unmeasured")]), "")
    said = {*look("early", *(() if verb else ("late", "event")))}
    detect(source)
    mentions = [m for m in source.mentions if m.kind not in ("filler", "plain")]
    said |= {*look("late", "event"), *(m.cue for m in mentions if m.kind == "event")}
    if not said & {"enters", "leaves"}:
        said |= {"enters"} if said & {"first", "sole"} else {"leaves"} if "last" in said else set()
    said |= {"yes_no"} if verb else set() if re.match(_TABLE["asking"], source.low) else {"bare"}
    named_in = [m for m in mentions if m.constraint] if re.search("[a-z]", source.low) else []
    own = {getattr(m.constraint, "concept", m.kind) for m in named_in}
    asked = [c for c in parse(text[verb.end() if verb else 0 :]).constraints if getattr(c, "concept", c.label) in own]
    words = (t.word for t in source.tokens if t.is_word and source.free(t.start, t.end))
    numbers = patterns_table()["number_word"].keys() - {"one"}
    unknown = [w for w in words if w in numbers or not (w in empty_words() or _any(_TABLE["small"]).fullmatch(w))]
    if not verb and not said & {"bare", "when"}:  # what is asked is no constraint, such as a time that is no time
        unknown += [c.text for c in asked if not isinstance(c, Presence)]
    things = sorted((m.start, m.constraint.concept) for m in mentions if isinstance(m.constraint, Presence))
    of_it = things and re.fullmatch(_TABLE["of_it"], source.low[: things[0][0]])
    if of_it and any(c.label not in _LABELS["instruments"] for c in asked):
        unmeasured = unmeasured or f"what {concept(things[0][1]).title} is like by itself"
    unknown += (source.cut(*span) for span in source.unknown)
    unknown += (m[0] for m in _any(_TABLE["hard"] + ([] if verb else _TABLE["denied"])).finditer(source.low))
    return _Asked(
        said=said, things=tuple(dict.fromkeys(name for _, name in things)), constraints=asked, unmeasured=unmeasured,
        place=next((m.place for m in mentions if m.place is not None), None), unknown=tuple(dict.fromkeys(unknown)),
    )  # fmt: skip


def _any(words: Sequence[str]) -> re.Pattern[str]:
    return whole("|".join(words))


def _claim(a: Analysis, name: str, value: str | float | None, text: str, sure: float, at: Spans = ()) -> Claim:
    """One sentence that ends with how sure it is, about these places or the whole track."""
    start_s, end_s = (at[0][0], at[-1][1]) if at else (0.0, a.duration_s)
    said = f"{text[0].upper()}{text[1:]}" + f" ({certainty_of(sure)})" * (value != "not measured") + "."
    return Claim(text=said, start_s=start_s, end_s=end_s, field=name, value=value, confidence=round(sure, 4),
                 certainty=certainty_of(sure))  # fmt: skip


def _claims(a: Analysis, q: _Asked) -> Iterator[Claim]:
    """What answers a question; nothing where nothing is asked that can be measured."""
    said, at = q.said, (0.0, a.duration_s) if q.place is None else q.place.span_s(a.duration_s)
    topics, things = [n for n in _TOPICS if n in said], [concept(c).title for c in q.things]
    solo = any(isinstance(c, Presence) and c.solo for c in q.constraints)
    if at[0] >= at[1]:
        raise _NotMeasured(f"the track ends at {clock(a.duration_s)}")
    if said & {"loudest", "softest"} and (part := [*things, *(t for t in topics if t not in ("loudness", "form"))]):
        raise _NotMeasured(f"loudness of {part[0]} by itself")
    if extreme := said & {"loudest", "softest"}:
        yield _extreme(a, min(extreme), at)
    elif "change" in said:
        yield from _changes(a, topics[0] if topics else "", at, said)
    elif things and topics and "yes_no" not in said:
        raise _NotMeasured(f"{topics[0]} of {things[0]} by itself")
    elif things and "how_many" in said:
        raise _NotMeasured(f"how many there are of one kind ({things[0]})")
    elif things and said >= {"throughout", "yes_no"} and not any(c.negated for c in q.constraints):
        yield from (_throughout(a, name, at) for name in q.things)
    elif (q.constraints and (said & {"yes_no", "bare"} or ("when" in said and not things))) or solo:
        yield from (_verdict(a, c, placed=q.place is not None) for c in q.constraints)
    elif things and said & {*_WHEN}:
        yield from (_entries(a, name, said, at) for name in q.things)
    elif said >= {"when", "leaves"} or ("long" in said and not topics):
        if q.place:
            raise _NotMeasured("where that part begins and ends")
        yield _claim(a, "duration_s", a.duration_s, f"length: {clock(a.duration_s)}", 1.0)
    elif "how_many" not in said or not {*topics} & {"key", "genre", "mood"}:
        for name in topics:
            if name == "instruments" or not said & {"enters", "leaves"}:
                yield from _topic(a, name, said, at, placed=q.place is not None)


def _verdict(a: Analysis, constraint: Constraint, *, placed: bool = False) -> Claim:
    """Yes, no or undecided, as the evidence of a search has it."""
    found = describe(constraint, measured(a))
    met = {True: "yes", False: "no", None: "undecided" if found.confidence else "not measured"}[found.satisfied]
    at = [(s.start_s, s.end_s) for s in found.spans if found.satisfied is not None]
    where = f", {_ranges(at)}" if at else ""
    whole = ", whole track" * (placed and getattr(constraint, "place", None) is None)
    asked = replace(constraint, exact=True).words() if isinstance(constraint, Tempo) else found.asked
    if constraint.negated and met == "no" and isinstance(constraint, Presence):
        asked = asked.removeprefix("no ")  # "No, vocals: present"
    return _claim(a, found.constraint, met, f"{met}, {asked}{whole}: {found.measured}{where}", found.confidence, at)


def _entries(a: Analysis, name: str, said: Set[str], at: tuple[float, float]) -> Claim:
    """Where a concept enters, leaves or is, or how long; the verdict on its presence where it is nowhere."""
    found = [e for e in timeline(a).entries if name in lineage(e.concept) and e.start_s < at[1] and e.end_s > at[0]]
    if not found:
        place = None if at == (0.0, a.duration_s) else Place(start=0, end=1, start_s=at[0], end_s=at[1])
        return _verdict(a, Presence(text=name, concept=name, kind=concept(name).kind, place=place))
    spans, sure = merged([(e.start_s, e.end_s) for e in found]), max(e.confidence for e in found)
    (first_s, _), (_, last_s), lasts_s = spans[0], spans[-1], sum(end_s - start_s for start_s, end_s in spans)
    again = "".join(f", again at {clock(start_s)}" for start_s, _ in spans[1:4])
    values: dict[str, tuple[str | float, str]] = dict(zip(_WHEN, (
        (len(spans), f"{len(spans)} time{'s' * (len(spans) > 1)}, {_ranges(spans)}"),
        (last_s, f"until {clock(last_s)}{', the end' * (last_s > a.duration_s - _EDGE_S)}"),
        (first_s, f"from {clock(first_s)}{', the start' * (first_s < _EDGE_S)}{again}"),
        (lasts_s, f"for {clock(lasts_s)} of {clock(a.duration_s)}, {_ranges(spans)}"),
        (name, _ranges(spans)),
    ), strict=True))  # fmt: skip
    asked = "when" if said >= {"enters", "leaves"} else next(one for one in _WHEN if one in said)
    return _claim(a, concept(name).kind, values[asked][0], f"{concept(name).title}: {values[asked][1]}", sure, spans)


def _extreme(a: Analysis, what: str, at: tuple[float, float]) -> Claim:
    """The few seconds with the most, or least, energy."""
    hop_s, low, high = a.energy.hop_s, *(round(second / (a.energy.hop_s or 1.0)) for second in at)
    curve = np.array(a.energy.values[low : max(high, low + 1)])
    if not len(curve) or a.loudness_lufs.value is None:
        raise _NotMeasured("loudness: the track is silent")
    width = min(len(curve), max(1, round(_LOUD_S / hop_s)))
    means = np.convolve(curve, np.ones(width) / width, "valid")
    start_s = (low + int(means.argmax() if what == "loudest" else means.argmin())) * hop_s
    span = (start_s, min(a.duration_s, start_s + width * hop_s))
    return _claim(a, what, start_s, f"{what}: {_ranges([span])}", 1.0 if np.ptp(means) > _CLEAR else PRESENT, [span])


def _throughout(a: Analysis, name: str, at: tuple[float, float]) -> Claim:
    """Whether a concept is there all the time, and where it is."""
    claim = _entries(a, name, {"long"}, at)
    if not isinstance(claim.value, int | float):
        return claim
    met = "yes" if claim.value > _ALL * (at[1] - at[0]) else "no"
    return replace(claim, value=met, text=f"{met.title()}, {claim.text[0].lower()}{claim.text[1:]}")


def _changes(a: Analysis, name: str, at: tuple[float, float], said: Set[str]) -> Iterator[Claim]:
    """Whether key, tempo or loudness change from part to part; else what changes where."""
    if name == "loudness":
        ways = [*(said & {"louder", "softer"} or ("louder", "softer"))]
        told = [c for c in narrate(a) if c.field == name and c.value in ways and at[0] <= c.start_s < at[1]]
        text = "; ".join(f"{c.value} at {clock(c.start_s)}" for c in told) or f"no part is clearly {' or '.join(ways)}"
        yield _claim(a, name, len(told), text, 1.0 if told else _PARTLY, [(c.start_s, c.end_s) for c in told])
        return
    if name not in ("key", "tempo"):
        yield from _topic(a, name if name == "chords" else "form", {"change"}, at, placed=True)
        return
    values = [(p.key if name == "key" else _tempo(a, p.start_s, p.end_s), p.start_s) for p in timeline(a).parts]
    known = [(value, start_s) for value, start_s in values if value is not None]
    if not known:
        raise _NotMeasured(f"whether the {name} changes: it is not clear in any part")
    steps = [known[0], *(b for x, b in pairwise(known) if not _same(x[0], b[0]))]
    sure = (a.key if name == "key" else a.tempo_bpm).confidence
    sure = min(sure, _PARTLY) if len(known) < len(values) or steps[1:] else sure
    text = f"{name} {'changes' if steps[1:] else 'does not change'}: "
    text += "; ".join(f"{_shown(value)} from {clock(start_s)}" for value, start_s in steps)
    yield _claim(a, name, len(steps) - 1, text, sure)


def _tempo(a: Analysis, start_s: float, end_s: float) -> float | None:
    """The tempo in BPM of the beats between two times; None where there are fewer than 8."""
    beats = [beat for beat in a.beats_s if start_s <= beat < end_s]
    return 60.0 / median(y - x for x, y in pairwise(beats)) if len(beats) >= 8 else None


def _topic(a: Analysis, name: str, said: Set[str], at: tuple[float, float], *, placed: bool) -> Iterator[Claim]:
    """What was measured of a topic, at a place or in the whole track."""
    line, where = timeline(a), _ranges([at])
    parts = [p for p in line.parts if p.start_s < at[1] and p.end_s > at[0]]
    if name == "instruments":
        here = [e for e in line.entries if e.start_s < at[1] and e.end_s > at[0]]
        sure = {e.concept: e.confidence for e in here}
        own = named(t for t in a.tags().values() if t.concept in sure)[:_MOST_NAMED]
        if move := said & {"enters", "leaves"}:
            ends = "enters" not in move
            edges = {e.concept: (e.start_s, e.end_s)[ends] for e in (here if ends else reversed(here))}
            latest = "last" in said or (ends and "first" not in said)
            own = tuple(sorted(own, key=edges.__getitem__, reverse=latest))
            if said & {"first", "last", "sole"} and own:
                own = tuple(n for n in own if abs(edges[n] - edges[own[0]]) < _EDGE_S)
            elif ends:  # the end of the track is not when something leaves
                own = tuple(n for n in own if edges[n] < a.duration_s - _EDGE_S)
        elif "longest" in said:
            own = own and (max(own, key=lambda n: sum(e.end_s - e.start_s for e in here if e.concept == n)),)
        names = [concept(n).title + (f" at {clock(edges[n])}" if move else "") for n in own]
        text = f"{len(own)}: " * ("how_many" in said) + (", ".join(names) or "none found")
        yield _claim(a, name, text, f"{name}, {where}: {text}", min((sure[n] for n in own), default=PRESENT), [at])
    elif name == "chords" and said & {"closing", "opening", "common", "how_many"}:
        yield _of_chords(a, said, at)
    elif name == "chords":
        for span in [at] if placed else [(p.start_s, p.end_s) for p in parts]:
            segments = [c for c in a.chords if c.start_s < span[1] and c.end_s > span[0]]
            parsed = [(chord, c.confidence) for c in segments if (chord := Chord.parse(c.label)) is not None]
            kept = [symbol for symbol, _ in groupby(spelled(a, chord) for chord, _ in parsed)]
            text = " - ".join(kept[:_MOST_NAMED]) + " ..." * (len(kept) > _MOST_NAMED)
            mean = fmean(p for _, p in parsed) if parsed else PRESENT
            yield _claim(a, name, text, f"{name}, {_ranges([span])}: {text or 'none found'}", mean, [span])
    elif name == "form":
        if not placed:
            yield _claim(a, name, len(line.parts), f"{len(line.parts)} part{'s' * (len(line.parts) > 1)}", _PARTLY)
        told = [c for c in narrate(a) if c.part is not None and c.start_s <= at[1] and c.end_s >= at[0]]
        yield from (c for c in told if not placed or c.start_s >= at[0])
    elif name == "overview":
        yield from narrate(a)
    elif name == "energy" and not placed:
        if (level := (found := summarize(a)).energy_level) is None:
            raise _NotMeasured("the energy: it is not clear")
        confidence = found.sources["energy_level"].confidence or 0.0
        yield _claim(a, "energy_level", level, f"energy: {level.replace('_', ' ')}", confidence)
    elif name in ("genre", "mood"):
        yield from (told := [c for c in narrate(a) if c.field == name])
        if not told:
            raise _NotMeasured(f"the {name}: none is sure enough to be told")
    elif name == "key" and placed and any(p.key for p in parts):
        spans = [(p.key, (p.start_s, p.end_s)) for p in parts if p.key]
        yield from (_claim(a, name, k, f"{name}, {_ranges([s])}: {k}", a.key.confidence, [s]) for k, s in spans)
    elif name in ("loudness", "energy") and placed and a.energy.values:
        low, high = (round(second / a.energy.hop_s) for second in at)
        more = fmean(a.energy.values[low : max(high, low + 1)] or a.energy.values) - fmean(a.energy.values)
        text = "about as loud as" if abs(more) < _CLEAR else "louder than" if more > 0 else "softer than"
        yield _claim(a, name, text, f"{where}: {text} the rest", 0.9 if abs(more) > _CLEAR else _PARTLY, [at])
    elif name == "tempo" and placed and (bpm := _tempo(a, *at)) is not None:
        yield _claim(a, name, bpm, f"{name}, {where}: {bpm:.1f} BPM", min(_PARTLY, a.tempo_bpm.confidence), [at])
    else:
        one: Estimate[Any] = {"key": a.key, "tempo": a.tempo_bpm, "metre": a.metre}.get(name, a.loudness_lufs)
        if one.value is None:
            raise _NotMeasured(f"the {name}: none was found")
        others = [f" or {_shown(o.value)}" for o in one.alternatives if one.confidence < 0.7 and o.confidence >= 0.1]
        text = f"{name}{', whole track' * placed}: {_shown(one.value)}{''.join(others[:2])} {one.unit}".rstrip()
        yield _claim(a, name, one.value, text, one.confidence)


def _of_chords(a: Analysis, said: Set[str], at: tuple[float, float]) -> Claim:
    """The first, the last or the most common chords at a place, or how many there are."""
    here = [(spelled(a, chord), c) for c in a.chords if c.start_s < at[1] and c.end_s > at[0]
            and (chord := Chord.parse(c.label)) is not None]  # fmt: skip
    if not here:
        raise _NotMeasured("the chords: none were found")
    if edge := said & {"closing", "opening"}:
        way, (symbol, c) = ("first", here[0]) if "opening" in edge else ("last", here[-1])
        return _claim(a, "chords", symbol, f"{way} chord: {symbol}", c.confidence, [(c.start_s, c.end_s)])
    lasts_s = {symbol: sum(c.end_s - c.start_s for s, c in here if s == symbol) for symbol, _ in here}
    mean, names = fmean(c.confidence for _, c in here), sorted(lasts_s, key=lambda s: -lasts_s[s])
    if "how_many" in said:
        said_as = f"{len(names)} chords: {', '.join(names[:_MOST_NAMED])}"
        return _claim(a, "chords", len(names), said_as, min(mean, _PARTLY))
    shares = ", ".join(f"{name} ({lasts_s[name] / sum(lasts_s.values()):.0%})" for name in names[:3])
    return _claim(a, "chords", names[0], f"most common chords: {shares}", mean)


def _same(x: Any, y: Any) -> bool:
    return abs(x / y - 1) < _STEADY if isinstance(x, float) else bool(x == y)


def _shown(value: Any) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def _ranges(at: Spans) -> str:
    return ", ".join(f"{clock(x)} to {clock(y)}" for x, y in at[:4]) + f" and {len(at) - 4} more" * (len(at) > 4)
