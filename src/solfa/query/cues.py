"""The small words of a query: negations, "must" and "maybe", "only" and "solo", "instrumental", "drum-free"."""

from __future__ import annotations

import re
from dataclasses import replace

from solfa.constraints import Presence
from solfa.query.lexis import rx, whole
from solfa.query.source import Mention, Source

_SUFFIX_FREE = re.compile(
    r"(?:-free|[ ]?free(?! (?:of|from|form|jazz|improvisation|time|flowing|download|music))|-?less)(?![^\W_])"
)
_END = r"(?=\s*(?:please\b|thanks?\b|$|[,;!?)/|\n]|\.(?!\s?\d)|and\b|but\b))"
_SAID_NONE = (
    rf"\s?(?:[:=?(]|->|=>|\.\.+)\s?(?:[a-z']+,? )?<<said_none>>{_END}"
    rf"|,? (?:no|never|not|(?:please )?(?:do not|don't))(?: <<idle>>)+{_END}"
    rf"| - <<said_none>>{_END}(?![^\W_])|, <<said_none>>(?=\s*(?:[;.!)]|$))"
    rf"| (?:is |are )?(?:a )?(?:hard |firm |clear |big )?<<said_no>>{_END}"
    rf"|,? but (?:please )?not (?:today|tonight|now|here|this (?:one|time)|for this|in this one){_END}"
)
_SAID_YES = rf"\s?[:=?]\s?<<said_yes>>\b| (?:is |are )?(?:a )?<<said_yes>>{_END}"
# "guitar yes piano no": where something is said to be there so, "no" behind a thing is about that thing.
_OF_ONE = re.compile(r" ?(?:free|-|less)| (?:is|stays|remains|drives|makes|annoys|bothers|ruins|no|out|off)\b")
_OF_SEVERAL = re.compile(r" (?:are|should|must|stay|remain)\b")
_PLAIN_YES, _PLAIN_NO = re.compile(r" yes\b"), re.compile(r" no(?![^\W_])")
_OUT = re.compile(r" (?:out|off|away)(?: of (?:it|this|there|the (?:mix|song|track|picture)))?(?! of\b)(?![^\W_])")
_OUT_BEFORE = re.compile(
    r"\b(?:keep|leave|take|cut|kick|throw|turn|shut|switch|strip|filter|rip|edit|mix|pull|toss|chuck|cross|rule|phase"
    r"|send|leav|tak|strip|cut|screen)(?:s|t?ing|p?ing)? (?:the |any |all |those )*$|\bwithout $"
)
_WHEN = re.compile(r" (?:early|late|halfway|at|after|before|by|around|from|until|near)\b")
_SAID_EITHER = re.compile(
    r"\s?[:=]\s?(?:optional|either|whatever|any|maybe|don't care|does not matter|doesn't matter)\b"
)
_MARK = r"(?P<no><<mark_no>>)\ufe0f?|<<mark_yes>>\ufe0f?"
_MARK_ENDS = re.compile(r"[\n;.!?,]|\b(?:but|with|and)\b")
_MINUS = re.compile(r"(?:^|(?<=[\s(,;]))[-!]$|(?:^|\s)\+ [^.;\n]* -(?= $)")
_QUOTED = re.compile(r'(?<![\w"])"([^"\n]{2,160})"(?!\w)')
_TITLED_BY = r"\b(?:called|titled|entitled|named|lyrics?|words|line|title|hook|sings?|singing|goes?|says?)"
_TITLE = re.compile(_TITLED_BY + r"(?: (?:is|are|go|goes|like|says?|that))*[:,]? $")
_QUOTED_ONCE = re.compile(_TITLED_BY + r"[:,]? '([^'\n]{2,120})'(?!\w)")
_LYRIC = re.compile(
    r"(?:\S+ ){3}|^(?=(?:\S+ ){2})(?:.* )?(?:i|i'm|you|me|my|we|us|your|don't|gonna|ain't|let's|baby)\b"
)
_TITLED = re.compile(
    r"\b(?:(?:song|track|tune|piece|album|one|record|it's|is) (?:called|named)|titled|entitled) "
    r"([A-Z][\w']*(?: (?:[A-Z][\w']*|(?:of|the|in|and|a|to|for|on)(?= [A-Z])))*)"
)
# A language that is sung, and speech that music is to be laid under: neither is a genre or a voice.
_ASIDE = re.compile(
    r"\b(?:sung|sings?|singing|lyrics?|words|texts?|chant(?:ed|s|ing)?|vocals?|voices?|choirs?) in "
    r"(latin|english|french|spanish|german|italian|portuguese|japanese|korean|arabic|hindi|greek|russian)(?![\w-])"
    r"|\b(?:for|under|behind|beneath|below) (?:a |the |some )?"
    r"(voice[ -]?overs?|narrations?|dialogues?|speech|talking|commentary|spoken word)(?![\w-])"
)
_TOPIC = re.compile(
    r"\b(?:songs?|lyrics?|words|sings?|singing|sung|stor(?:y|ies)|tracks?|ballads?|raps?)(?: (?:is|are|all))* about "
    r"(?!\d|(?:an?|one|half|two|three|four|five|ten) (?:half|hundred|minute|third|quarter|hour)|half)"
    r"((?!(?:with|no|not)\b)[^\W_]+(?:[ '-](?!(?:with|but|in|at|without|by|sung|featuring|no|not|played|on|that|where"
    r"|is|has|and (?:an?|no|with|the|it))\b)[^\W_]+){0,5})"
)
_SOLO_BEFORE = r"\b<<solo_before>>[ -]$"
_SOLO_AFTER = r"[ -]<<solo_after>>\b"
_ONLY_BEFORE = r"\b<<only>>(?: (?:a|an|the|one))? $"
_ONLY_LEAD_AFTER = r"[ -](?:only|alone|solo(?:s|ing|ist)?|led)\b"


def find_exceptions(source: Source) -> None:
    """Finds what looks like a negation and is none, and what says that something does not matter."""
    for match in source.matches(rx(r"\s?<<correction>>(?![^\W_]),?")):
        source.add(Mention(*match.span(), "correction"))
    kinds = {"optional": "optional", "optional_after": "optional after", "cancelled": "filler", "doubt": "doubt"}
    for name, kind in kinds.items():
        for match in source.matches(whole(f"<<{name}>>")):
            source.add(Mention(*match.span(), kind, cue=match[0]))
    for match in source.matches(whole("<<no_negation>>")):
        source.add(Mention(*match.span(), "plain", spoken=True))


def find_titles(source: Source) -> None:
    """Sets titles, words that are sung, and what words are about apart: they are compared as words, not read."""
    found = [m for m in _QUOTED.finditer(source.low) if _TITLE.search(source.before(m.start())) or _LYRIC.search(m[1])]
    found += [*_QUOTED_ONCE.finditer(source.low), *_TITLED.finditer(source.raw)]
    for match in (m for m in found if source.free(*m.span(1)) and m.span(1) != (1, len(source.low) - 1)):
        source.add(Mention(*match.span(1), "plain", spoken=True))
        source.note(
            f"{source.quote(*match.span(1))} is taken for a title or words that are sung: compared as words only"
        )
    for match in _ASIDE.finditer(source.low):
        source.add(Mention(*match.span(match.lastindex or 0), "plain", spoken=True))
    for match in source.matches(_TOPIC):
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
    marks = list(source.matches(rx(_MARK)))
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
            if start <= thing.start < end and not _MARK_ENDS.search(gap):
                thing.negated = not thing.negated


def mark(source: Source) -> None:
    """Marks instruments and voices that play alone or lead, or that a suffix takes away ("drum-free")."""
    things = [m for m in source.mentions if isinstance(m.constraint, Presence)]
    postfix = any(_PLAIN_YES.match(source.low, m.end) for m in things)
    for mention in things:
        if mention.kind != "use" and not mention.negated and not _taken_away(source, mention, postfix):
            _ = mention.kind in ("instrument", "voice", "sound") and _solo(source, mention)


def _taken_away(source: Source, mention: Mention, postfix: bool) -> bool:
    solo = re.compile(r"[ -]solos?\b").match(source.low, mention.end)
    end = solo.end() if solo else mention.end
    out = _OUT_BEFORE.search(source.before(mention.start)) and _OUT.match(source.low, end)
    kept = re.search(r"\b(?:keep|leav)", source.before(mention.start, 14))  # "keep the drums out until 1:00"
    if out and not kept and _WHEN.match(source.low, out.end()):  # "take the drums out at 1:00"
        source.add(Mention(*out.span(), "event", cue="leaves"))
        return True
    if either := _SAID_EITHER.match(source.low, end):
        source.note(f"{source.quote(mention.start, either.end())}: either will do, so it is no constraint")
        mention.forget()
        return True
    match = (
        _SUFFIX_FREE.match(source.low, end)
        or rx(_SAID_NONE).match(source.low, end)
        or (postfix and _PLAIN_NO.match(source.low, end))
        or out
        or rx(r"(?: <<part>>)?[\s(]<<taken_away>>(?![^\W_])").match(source.low, end)
    )
    if match and source.free(*match.span()):
        source.reach.append((mention.start, end))
        source.add(Mention(*match.span(), "filler"))
        mention.negated, mention.said_from = True, mention.start
        if not _OF_ONE.match(match[0]):  # "piano and strings are forbidden"
            for other in source.joined_before(mention, commas=bool(_OF_SEVERAL.match(match[0]))):
                other.negated = True
                source.reach.append((other.start, other.end))
        assert mention.constraint is not None
        mention.constraint = replace(mention.constraint, text=source.cut(mention.start, match.end()))
        return True
    yes = rx(_SAID_YES).match(source.low, end) or (postfix and _PLAIN_YES.match(source.low, end))
    if yes and source.free(*yes.span()):
        source.add(Mention(*yes.span(), "filler"))
    elif _MINUS.search(source.before(mention.start, 48)) and source.free(mention.start - 1, mention.start):
        source.add(Mention(mention.start - 1, mention.start, "negation", cue="no"))
    return False


def _solo(source: Source, mention: Mention) -> bool:
    start, end = mention.start, mention.end
    before = source.before(start, 24)
    joined = re.match(r"\s?(?:and|&|or|,|/)", source.after(end, 8)) or re.search(r"(?:and|&|or|,|/)\s?$", before)
    match = rx(_SOLO_BEFORE).search(before)
    if match and source.free(start - len(match[0]), start):
        start -= len(match[0])
    elif (after := rx(_SOLO_AFTER).match(source.low, end)) and source.free(*after.span()):
        if "only" in after[0] and re.search(r"(?:and|&|or|,|/)\s?$", before):
            return False
        if rx(_ONLY_LEAD_AFTER).match(source.low, end):
            end = after.end()
        else:
            source.add(Mention(end, after.end(), "filler"))
    elif (match := rx(_ONLY_BEFORE).search(before)) and not joined and source.free(start - len(match[0]), start):
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
            if not source.free(start, end) or (number and source.raw[start] == "N"):
                continue
            weight = 0.5 if name == "soft_negation" or re.search(r"\b(?:too|very|overly|so)\b", match[0]) else 1.0
            weight = 2.0 if match[0].startswith("must") else weight
            cue = "exception" if name == "exception" else match[0]
            source.add(Mention(start, end, "negation", cue=cue, weight=weight))
    for match in source.matches(whole("<<suspect>>")):
        source.add(Mention(*match.span(), "doubt"))
    for match in source.matches(whole("(?P<must><<must>>)|<<may>>")):
        source.add(Mention(*match.span(), "weight", weight=2.0 if match["must"] else 0.5, cue=match[0]))
