"""Sentences about a search to operations, by rule (regexes and words are in ``turns.toml``) or by a language model.

A sentence is cut at commas, "but", "and" and the like. The longest stretches that say an edit are read as one ("forget
the tempo and the key"); what is left between them goes to the grammar of queries, joined as it was written.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

from solfa.core.errors import InputError
from solfa.core.files import table_of
from solfa.llm import ModelClient, data_block
from solfa.query import parse
from solfa.query.source import fold

_TABLE = table_of("solfa.language", "turns.toml")
KINDS: Mapping[str, Sequence[str]] = _TABLE["kinds"]
OPERATIONS: Sequence[str] = _TABLE["schema"]["properties"]["operations"]["items"]["properties"]["op"]["enum"]
_NUMBERS: Sequence[Sequence[str]] = _TABLE["numbers"]
_MOST_CHARS, _MOST_HITS, _MOST_PIECES, _LEAST_BPM = 2000, 100, 6, 40


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """One edit of a session's query: ``op`` of ``OPERATIONS``; ``text``, words of a query, or what ``remove`` and
    ``forget`` take back; ``hits``, numbers of hits that are shown; ``verdict``, whether what is said of them is kept as
    feedback; ``page``, 0 for the next."""

    op: str
    text: str = ""
    hits: tuple[int, ...] = ()
    verdict: bool = False
    page: int = 0

    @classmethod
    def of(cls, value: Any) -> "Operation":
        """An operation from JSON. Raises InputError if it is none."""
        given = {"text": "", "hits": [], "verdict": False, "page": 0, **value} if isinstance(value, Mapping) else {}
        hits, named = given.get("hits"), given.keys() == {"op", "text", "hits", "verdict", "page"}
        typed = named and [type(given[n]) for n in ("text", "verdict", "page")] == [str, bool, int]
        listed = isinstance(hits, list | tuple) and len(hits) <= _MOST_HITS and all(type(n) is int for n in hits)
        if not (typed and listed and given["op"] in OPERATIONS and len(given["text"]) <= _MOST_CHARS):
            raise InputError(f"not an operation: {str(value)[:80]!r}. Expected op, one of {', '.join(OPERATIONS)}, "
                             f"and text (at most {_MOST_CHARS} characters), hits, verdict (true, false) or page."
                             )  # fmt: skip
        return cls(**{**given, "text": given["text"].strip(), "hits": tuple(hits or ())})


EVERYTHING = Operation(op="forget", text="everything")


class Seen(NamedTuple):
    """What a sentence is read against: numbers of the hits shown and of those that "these" means, the page (0: nothing
    is asked yet), and whether some words are part of the query."""

    shown: range
    these: Sequence[int]
    page: int
    stands: Callable[[str], bool]


class Relative(NamedTuple):
    """A comparison with hits: ``kind`` tempo, duration, key or metre, between which multiples of theirs (and BPM more),
    and the words for the hits where they are named."""

    kind: str
    between: tuple[float, float]
    plus_bpm: float = 0.0
    hits: str = ""


@cache
def _regex(table: str, name: str) -> re.Pattern[str]:
    def fill(template: str) -> str:
        return re.sub(r"<<(\w+)>>", lambda m: fill(_TABLE["part"][m[1]]), template)

    return re.compile(fill(_TABLE[table][name]))


def _given(table: str, name: str, text: str) -> dict[str, str] | None:
    """What the groups hold if a regex matches all of a text; digits at the end tell places of one group apart."""
    match = _regex(table, name).fullmatch(fold(text))
    return match and {group.rstrip("2345"): text[slice(*match.span(group))] for group in match.groupdict()
                      if match[group]}  # fmt: skip


def relative(text: str) -> Relative | None:
    """What a comparison asks: "much slower", "10 bpm faster", "in the key of the second"; None if it is none.

    >>> relative("a bit slower than the second")
    Relative(kind='tempo', between=(0.8, 0.95), plus_bpm=0.0, hits='the second')
    """
    said, _, hits = text.strip().partition(" than ")
    if hits.isdigit() and int(hits) >= _LEAST_BPM:  # of a tempo, not of a hit
        return None
    for name, spans in _TABLE["between"].items():
        if (given := _given("relative", name, said)) is not None:
            low, high = spans["little" if "little" in given else "very" if "very" in given else "else"]
            more = float(("-" if name.endswith("less") else "") + given["bpm"]) if "bpm" in given else 0.0
            return Relative(name.partition("_")[0], (low, high), more, given.get("hits", hits))
    return None


def hit_numbers(text: str, shown: range, these: Sequence[int]) -> tuple[int, ...] | None:
    """The numbers of hits that words name; None if they name none. Raises InputError if it is not clear which is meant.

    >>> hit_numbers("the first two and number 5", range(1, 6), ()), hit_numbers("Miles Davis", range(1, 6), ())
    ((1, 2, 5), None)
    """
    found, every = list[int](), list(these or shown)
    for part in re.split(r"\s*(?:,|&|\+|\band\b|\bor\b|(?<=\d) (?=\d))\s*", text.strip(" .!")):
        if (given := _given("part", "hit", part)) is None:
            return None
        number = next((_number(given[n]) for n in ("count", "rank", "place") if n in given), 1)
        from_end = given.get("end") in ("last", "bottom")
        if "rank" in given:
            found += range(number, min(_number(given.get("to", given["rank"])), number + _MOST_HITS) + 1)
        elif "it" in given and len(every) != 1:
            raise InputError(f"which hit is {part!r}? Say its number, such as: more like 2")
        elif given.keys() & {"count", "every", "it"}:
            found += every if "count" not in given else every[-number:] if from_end else every[:number]
        else:
            place = -1 if from_end else number - 1
            found.append(shown[place] if place < len(shown) and shown else number)
    return tuple(dict.fromkeys(found))


def _number(word: str) -> int:
    word = fold(word)
    digits = re.match(r"\d+", word)
    return int(digits[0]) if digits else next(row.index(word) for row in _NUMBERS if word in row) + 1


def read(text: str, seen: Seen) -> list[Operation]:
    """The operations that a sentence asks for; the first of a session is a query as it is.

    Raises InputError, which says what is not understood.
    """
    text = " ".join(text.translate(str.maketrans("’‘`", "'''")).split())
    if fresh := _given("part", "fresh", text):
        edit = _special(fresh["rest"], seen)
        return [EVERYTHING, Operation(op="set", text=fresh["rest"])] if edit is None else edit
    if not seen.page and text:
        edit = _special(text, seen) or []
        return edit if edit and edit[0].op in ("undo", "forget") else [EVERYTHING, Operation(op="set", text=text)]
    if text.endswith("?") and _given("part", "question", _stripped(text)) is not None:
        raise InputError(f"{text!r} is a question; a turn changes the query. To ask about a track: solfa ask FILE ...")
    cuts = [(0, 0), *(match.span() for match in _regex("part", "pieces").finditer(fold(text))), (len(text),) * 2]
    spans = [(before[1], after[0]) for before, after in pairwise(cuts) if after[0] > before[1]]
    found, rest = list[Operation](), list[tuple[int, int]]()
    while spans:
        for count in range(min(len(spans), _MOST_PIECES), 0, -1):
            edit = _special(text[spans[0][0] : spans[count - 1][1]], seen)
            if edit is not None:
                seen = seen._replace(these=next((op.hits for op in edit if op.hits), seen.these))  # "more of that"
                found, rest, spans = [*found, *_plain(text, rest), *edit], [], spans[count:]
                break
        else:
            rest.append(spans.pop(0))
    new = rest and not found and _is_new(text)
    found += [EVERYTHING, Operation(op="set", text=text)] if new else _plain(text, rest)
    if not found:
        raise InputError(f"nothing in {text!r} changes the query. {_TABLE['such_as']}")
    return found


def _stripped(text: str) -> str:
    """Without words that only lead up to what is said, or please."""
    before = ""
    while before != text:
        before, lead, tail = text, *(_regex("part", name).search(fold(text)) for name in ("lead", "tail"))
        text = text[lead.end() if lead else 0 : tail.start() if tail else len(text)].strip(" ,.!?;:/")
    return text


def _plain(text: str, spans: Sequence[tuple[int, int]]) -> list[Operation]:
    """What the grammar of queries is to read: stretches that are no edits."""
    said = _stripped(text[spans[0][0] : spans[-1][1]]) if spans else ""
    if not said or _given("part", "noise", said) is not None:
        return []
    vague = _given("part", "vague", said) is not None or _regex("part", "chatter").search(fold(said))
    found = parse(said).constraints
    compared = re.search(r"\bthan\b", said) and not any(c.label in ("tempo", "duration") for c in found)
    if compared or (vague and not found):
        raise InputError(f"not understood: {said!r}. {_TABLE['such_as']}")
    return [Operation(op="add", text=said)]


def _is_new(text: str) -> bool:
    """Whether a line is a query of its own rather than an edit: three things or more, and no word that links."""
    found = parse(text).constraints
    heads = [c for c in found if c.label in ("instrument", "genre", "voice", "use")]
    linked = _regex("part", "link").match(fold(text)) or _stripped(text) != text.strip(" ,.!?;:/")
    return bool(heads) and len({c.text for c in found}) >= 3 and not linked


def _special(text: str, seen: Seen) -> list[Operation] | None:
    """The operations of a stretch that is an edit from end to end; None if it is none."""
    for said in dict.fromkeys((text.strip(" ,.!?;:/"), _stripped(text))):
        for name in _TABLE["turn"]:
            given = _given("turn", name, said)
            if given is not None and (found := _edit(name, given, seen)) is not None:
                return found
        if (how := relative(said)) is not None:
            hits = hit_numbers(how.hits, seen.shown, seen.these) if how.hits else ()
            return None if hits is None else [Operation(op="add", text=said, hits=hits)]
        of_hit = _given("part", "of_hit", said) or {}  # "the second is too slow"
        if of_hit and relative(of_hit["how"]) and (hits := hit_numbers(of_hit["hits"], seen.shown, seen.these)):
            return [Operation(op="add", text=of_hit["how"], hits=hits)]
    if of_hit and _given("part", "hit", of_hit["hits"]) is not None:  # "the second is too sad"
        return [Operation(op="add", text=away)] if parse(away := f"not {of_hit['how'][4:]}").constraints else None
    return None


def _edit(name: str, given: Mapping[str, str], seen: Seen) -> list[Operation] | None:
    what, new = given.get("what", ""), given.get("new", "")
    if name in ("undo", "everything"):
        again = [Operation(op="set", text=new)] if new else []
        return [Operation(op="undo")] * _number(given.get("count", "1")) if name == "undo" else [EVERYTHING, *again]
    if name == "page" and not (seen.these and " of " in given.get("more", "")):
        back = 0 if "back" not in given else 1 if "first" in given else max(seen.page - 1, 1)
        return [Operation(op="page", page=_number(given["number"]) if "number" in given else back)]
    if "hits" in given:  # like, good, dislike, bad
        hits, op = hit_numbers(given["hits"], seen.shown, seen.these), "like" if name in ("like", "good") else "dislike"
        return None if hits is None else [Operation(op=op, hits=hits, verdict=name in ("good", "bad"))]
    if name in ("any_but", "in_place"):
        old = given.get("old", what)
        gone = "remove" if seen.stands(old) else "avoid" if name == "in_place" and parse(old).constraints else ""
        taken = [Operation(op=gone, text=old)] if gone else []
        last = Operation(op="add", text=new) if new else Operation(op="avoid", text=given["but"])
        return [*taken, last] if parse(last.text).constraints else None
    if name in ("instead", "limit"):
        found = parse(what).constraints
        exact = all(c.label in ("tempo", "key", "metre", "duration") for c in found)
        if name == "instead" and (edit := _special(what, seen)) is not None:
            return edit
        how = relative(what) if name == "limit" else None  # "like the second, only faster"
        if how is not None and (not how.hits or hit_numbers(how.hits, seen.shown, seen.these)):
            return [Operation(op="add", text=what)]
        read_as = found and (name == "instead" or exact or "ones" in given)
        return [Operation(op="set" if name == "instead" else "limit", text=_stripped(what))] if read_as else None
    if name == "balance":  # how loud an instrument is by itself is not measured: less of it, or more
        source = any(c.label in ("instrument", "voice") for c in parse(what).constraints)
        return [Operation(op="avoid" if "much" in given else "add", text=what)] if source else None
    parts = [re.sub(r"(?i)^(?:the|my|that|any) ", "", n) for n in re.split(r",? (?:and|or|nor) (?:for )?|, ", what)]
    known = set[str]() if name == "drop" else {word for kind, own in KINDS.items() for word in (kind, *own)}
    there = all(seen.stands(part) or fold(part) in known for part in parts)
    linked = any(_regex("part", "link").match(fold(part)) for part in parts)
    if name == "drop" and not (there or linked) and all(parse(part).constraints for part in parts):
        return [Operation(op="avoid", text=part) for part in parts]
    there = there or (name == "forget" and not _regex("part", "pieces").search(what))  # it will be said that it is not
    return [Operation(op="remove" if name == "drop" else "forget", text=part) for part in parts] if there else None


def ask_model(client: ModelClient, text: str, state: Mapping[str, Any]) -> list[Operation]:
    """The operations that a language model makes of a sentence, given ``Session.state``; checked as any others.

    Raises InputError if it gives none, or none that can be read; SolfaError as ``ModelClient.ask`` does.
    """

    def fault(answer: Mapping[str, Any]) -> str:
        try:
            made = [Operation.of(value) for value in answer["operations"]]
        except InputError as error:
            return str(error)
        return "" if made or answer["not_understood"] else "no operation, and not_understood is empty"

    given = data_block({"query": state, "said": text})
    answer, _ = client.ask_checked(_TABLE["system"], given, _TABLE["schema"], fault)
    if answer is None or not answer["operations"]:
        said = f"The model says: {answer['not_understood']}" if answer else (
            "The model's answer holds no operations that can be read.")  # fmt: skip
        raise InputError(f"not understood: {text!r}. {said}")
    return [Operation.of(value) for value in answer["operations"]]
