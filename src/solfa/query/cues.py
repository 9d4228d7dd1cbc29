"""The small words of a query: negations, "must" and "maybe", "only" and "solo", "instrumental", "drum-free"."""

import re
from dataclasses import replace

from solfa.constraints import Presence
from solfa.query.lexis import Regexes, rx, whole
from solfa.query.source import Mention, Source

regex = Regexes("cues")


def find_exceptions(source: Source) -> None:
    """Finds what looks like a negation and is none, and what says that something does not matter."""
    for match in source.matches(rx(r"\s?<<correction>>(?![^\W_]),?")):
        source.add(Mention(*match.span(), "correction"))
    for name in ("optional", "optional_after", "cancelled", "doubt", "no_negation"):
        _find_listed(source, name)


def find_labels(source: Source) -> None:
    """Finds the names of fields: "Genre: rock"."""
    _find_listed(source, "label")


def find_titles(source: Source) -> None:
    """Sets titles, words that are sung, and what words are about apart: they are compared as words, not read."""
    quoted = regex.quoted.finditer(source.low)
    found = [m for m in quoted if regex.title.search(source.before(m.start())) or regex.lyric.search(m[1])]
    found += [*regex.quoted_once.finditer(source.low), *regex.title_field.finditer(source.low)]
    found += regex.titled.finditer(source.raw)
    for match in (m for m in found if source.free(*m.span(1)) and m.span(1) != (1, len(source.low) - 1)):
        source.add(Mention(*match.span(1), "plain", spoken=True))
        what = source.quote(*match.span(1))
        source.note(f"{what} is taken for a title or words that are sung: compared as words only")
    for match in regex.aside.finditer(source.low):
        source.add(Mention(*match.span(match.lastindex or 0), "plain", spoken=True))
    for match in source.matches(regex.topic):
        source.add(Mention(*match.span(1), "plain", spoken=True))
        source.note(f"{source.quote(*match.span(1))} is what the words are about: compared as words only")


def find_voiceless(source: Source) -> None:
    """Finds "instrumental" (no voice) and "a cappella" (voices alone)."""
    for match in source.matches(whole("<<a_cappella>>")):
        constraint = Presence(text=source.cut(*match.span()), concept="voice", kind="voice", solo=True)
        source.add(Mention(*match.span(), "voice", constraint, spoken=True))
    for match in source.matches(whole("(?P<mostly><<mostly>> )?<<instrumental>>")):
        constraint = Presence(text=source.cut(*match.span()), concept="voice", kind="voice")
        weight = 0.5 if match["mostly"] else 1.0
        source.add(Mention(*match.span(), "voice", constraint, spoken=True, negated=True, weight=weight))
        source.note(f"{source.quote(*match.span())} read as no vocals")


def find_marks(source: Source) -> None:
    """Reads check marks: "[x] piano [ ] drums", "piano 👍 drums 👎"; all before their things, or all behind."""
    marks = list(source.matches(regex.mark))
    things = [m for m in source.mentions if isinstance(m.constraint, Presence)]
    starts, ends = {m.start for m in things}, {m.end for m in things}
    leading = sum(bool({m.end(), m.end() + 1} & starts) - bool({m.start(), m.start() - 1} & ends) for m in marks) > 0
    for i, match in enumerate(marks):
        source.add(Mention(*match.span(), "filler"))
        start, end = (marks[i - 1].end() if i else 0), match.start()
        if leading:
            start, end = match.end(), marks[i + 1].start() if i + 1 < len(marks) else len(source.low)
        for thing in things if match["no"] else ():
            gap = source.low[start : thing.start] if leading else source.low[thing.end : end]
            if start <= thing.start < end and not regex.mark_ends.search(gap):
                thing.negated = not thing.negated


def mark(source: Source) -> None:
    """Marks instruments and voices that play alone or lead, or that a suffix takes away ("drum-free")."""
    things = [m for m in source.mentions if isinstance(m.constraint, Presence)]
    postfix = any(regex.plain_yes.match(source.low, m.end) for m in things)
    for mention in things:
        if mention.kind != "use" and not mention.negated and not _taken_away(source, mention, postfix):
            _ = mention.kind in ("instrument", "voice", "sound") and _solo(source, mention)


def _taken_away(source: Source, mention: Mention, postfix: bool) -> bool:
    solo = re.compile(r"[ -]solos?\b").match(source.low, mention.end)
    end = solo.end() if solo else mention.end
    out = regex.out_before.search(source.before(mention.start)) and regex.out.match(source.low, end)
    kept = re.search(r"\b(?:keep|leav)", source.before(mention.start, 14))  # "keep the drums out until 1:00"
    if out and not kept and regex.when.match(source.low, out.end()):  # "take the drums out at 1:00"
        source.add(Mention(*out.span(), "event", cue="leaves"))
        return True
    if either := regex.said_either.match(source.low, end):
        source.note(f"{source.quote(mention.start, either.end())}: either is accepted, so it is not a constraint")
        source.forget(mention)
        return True
    match = (
        regex.suffix_free.match(source.low, end)
        or regex.said_none_behind.match(source.low, end)
        or (postfix and regex.plain_no.match(source.low, end))
        or out
        or rx(r"(?: <<part>>)?[\s(]<<taken_away>>(?![^\W_])").match(source.low, end)
    )
    if match and source.free(*match.span()):
        source.reach.append((mention.start, end))
        source.add(Mention(*match.span(), "filler"))
        mention.negated, mention.said_from = True, mention.start
        if not regex.of_one.match(match[0]):  # "piano and strings are forbidden"
            for other in source.joined_before(mention, commas=bool(regex.of_several.match(match[0]))):
                other.negated = True
                source.reach.append((other.start, other.end))
        assert mention.constraint is not None
        mention.constraint = replace(mention.constraint, text=source.cut(mention.start, match.end()))
        return True
    yes = regex.said_yes_behind.match(source.low, end) or (postfix and regex.plain_yes.match(source.low, end))
    if yes and source.free(*yes.span()):
        source.add(Mention(*yes.span(), "filler"))
    elif regex.minus.search(source.before(mention.start, 48)) and source.free(mention.start - 1, mention.start):
        source.add(Mention(mention.start - 1, mention.start, "negation", cue="no"))
    return False


def _solo(source: Source, mention: Mention) -> bool:
    start, end = mention.start, mention.end
    before = source.before(start, 24)
    joined = re.match(r"\s?(?:and|&|or|,|/)", source.after(end, 8)) or re.search(r"(?:and|&|or|,|/)\s?$", before)
    match = regex.solo_said_before.search(before)
    if match and source.free(start - len(match[0]), start):
        start -= len(match[0])
    elif (after := regex.solo_said_after.match(source.low, end)) and source.free(*after.span()):
        if "only" in after[0] and regex.listed_before.search(source.before(start)):
            return False
        if regex.only_lead_after.match(source.low, end):
            end = after.end()
        else:
            source.add(Mention(end, after.end(), "filler"))
    elif (match := regex.only_before.search(before)) and not joined and source.free(start - len(match[0]), start):
        source.add(Mention(start - len(match[0]), start - 1, "filler"))
    else:
        return False
    source.stretch(mention, start, end)
    assert isinstance(mention.constraint, Presence)
    mention.constraint = replace(mention.constraint, text=source.cut(start, end), solo=True)
    return True


def find(source: Source) -> None:
    """Finds negations and degree words in what is still free; ``scope`` lets them act."""
    things = {m.start for m in source.mentions if m.constraint is not None and m.spoken}
    for name in ("exception", "soft_negation", "negation", "negation_before_a_thing"):
        for match in whole(f"<<{name}>>(?!')").finditer(source.low):
            start, end = match.span()
            if name == "negation_before_a_thing" and end + 1 not in things:
                continue
            while not source.free(start, end) and " " in source.low[start:end]:
                end = source.low.rindex(" ", start, end)  # "not a" before "cappella" is "not"
            if end < match.end() and not rx(f"<<{name}>>").fullmatch(source.low, start, end):
                continue  # "is" of "is not below 110" denies nothing
            number = source.raw[start:end] in ("no", "No") and start and re.match(r" ?\d", source.after(end))
            small = match[0] == "little" and regex.small.search(source.before(start))
            if not source.free(start, end) or small or (number and source.raw[start] == "N"):
                continue
            weight = 0.5 if name == "soft_negation" or re.search(r"\b(?:too|very|overly|so)\b", match[0]) else 1.0
            weight = 2.0 if match[0].startswith("must") else weight
            cue = "exception" if name == "exception" else match[0]
            source.add(Mention(start, end, "negation", cue=cue, weight=weight))
    for name in ("suspect", "must", "may"):
        _find_listed(source, name)


_KINDS = {"cancelled": "filler", "label": "filler", "no_negation": "plain", "suspect": "doubt", "must": "weight",
          "may": "weight"}  # fmt: skip


def _find_listed(source: Source, name: str) -> None:
    """Finds the words of a list, which only change what is next to them."""
    kind, weight = _KINDS.get(name, name), {"must": 2.0, "may": 0.5}.get(name, 1.0)
    for match in source.matches(whole(f"<<{name}>>")):
        source.add(Mention(*match.span(), kind, cue=match[0], weight=weight, spoken=kind == "plain"))
