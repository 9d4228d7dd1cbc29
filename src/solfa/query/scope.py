"""What the small words do to the things they stand with: negation, weight, alternatives.

A negation reaches to the end of its clause, or to a word that starts something new ("but", "with", "for"); "or" and
"nor" always carry it on, "and" only between things of one kind, a comma only inside a list that ends in "or". A
negation of a negation cancels it. A degree word ("must", "ideally") reaches to the end of its clause.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TypeGuard

from solfa.core.query import Presence
from solfa.query.lexis import rx, words_table
from solfa.query.place import Item
from solfa.query.source import Mention, Source, Token

_HARD = {".", ";", "!", "?", "\n", "(", ")", ":", "|"}
_CLAUSE_WORDS = {",", "but", "then", "before", "while", "followed"}
_MEASURES = ("chords", "key", "metre", "tempo", "duration")
_MODIFIERS = ("weight", "optional", "optional after", "filler")


def items(source: Source) -> list[Item]:
    """Mentions and the tokens outside them, in order."""
    cover = bytearray(len(source.text))
    for start, end in [*((m.start, m.end) for m in source.mentions), *source.unknown]:
        cover[start:end] = b"\x01" * (end - start)
    row: list[Item] = list(source.mentions)
    row += [t for t in source.tokens if cover.find(1, t.start, t.end) == -1]
    return sorted(row, key=lambda i: (i.start, i.end))


def _asks(item: Item) -> TypeGuard[Mention]:
    return isinstance(item, Mention) and item.constraint is not None


def clauses(row: list[Item]) -> list[list[Item]]:
    """Items between punctuation, "but" and "then"; "then" and "before" open their clause."""
    result: list[list[Item]] = [[]]
    for item in row:
        if isinstance(item, Token) and (item.word in _HARD or item.word in _CLAUSE_WORDS):
            result.append([item] if item.word in ("then", "before") else [])
        else:
            result[-1].append(item)
    return [c for c in result if c]


class _Negation:
    """The state of one walk over the items: which negation is active, and since when."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.cue: Mention | None = None
        self.flips = True
        self.head: Mention | None = None  # the last thing it reached
        self.end = 0  # where its reach ends so far

    def close(self) -> None:
        """Ends the reach."""
        if self.cue is not None and self.flips and self.end > self.cue.end:
            self.source.reach.append((self.cue.end, self.end))
        self.cue = None

    def open(self, cue: Mention) -> None:
        """Starts a reach, or cancels the one that has met nothing yet ("not without drums")."""
        exception = cue.cue == "exception"
        inside = self.cue is not None and self.flips and (self.head is not None or self.end > self.cue.end)
        if self.cue is not None and not inside and not exception:
            self.flips = not self.flips
        elif inside and exception:  # "no instruments except piano"
            self.close()
            self.flips = False
        else:
            self.close()
            self.flips = True
        self.cue, self.head, self.end = cue, None, cue.end

    def meet(self, mention: Mention) -> None:
        """Turns a mention round."""
        assert self.cue is not None
        if self.flips:
            mention.negated = not mention.negated
            if self.cue.weight != 1:
                mention.weight = self.cue.weight
            gap = self.source.low[self.cue.end : mention.start].split()
            if self.head is None and len(gap) <= 1 and self.cue.cue != "exception":
                mention.said_from = self.cue.start
        self.head, self.end = mention, mention.end


def negate(source: Source, row: list[Item]) -> None:
    """Turns round what negations reach."""
    state = _Negation(source)
    for i, item in enumerate(row):
        if isinstance(item, Mention) and item.kind == "negation":
            state.open(item)
        elif state.cue is None:
            continue
        elif isinstance(item, Token):
            if _ends(source, row, i, state):
                state.close()
            elif item.is_word:
                state.end = item.end
        elif item.constraint is not None:
            if state.head is not None and _starts_anew(row, i, state.head, item):
                state.close()
            else:
                state.meet(item)
        elif item.kind == "plain" or (item.kind == "place" and item.cue == "noun" and state.head is None):
            state.end = max(state.end, item.end)
        elif item.kind in _MODIFIERS and state.head is not None:
            state.close()
    state.close()


def _ends(source: Source, row: list[Item], i: int, state: _Negation) -> bool:
    """Whether a token ends the reach of a negation."""
    token = row[i]
    assert isinstance(token, Token)
    word, data = token.word, words_table()["scope"]
    if word in _HARD or word in data["contrast"]:
        return True
    if word == "-":
        return source.low[token.start - 1 : token.start] == " " and source.low[token.end : token.end + 1] == " "
    if word == ",":
        return not _list_goes_on(row, i)
    head = state.head
    if head is None:  # "no reverb on the guitar" ends at "on", "not suitable for parties" does not end at "for"
        noun = state.cue is not None and state.cue.cue in data["before_nouns"] and state.end > state.cue.end
        return noun and word in data["prepositions"]
    return word in data["ends_after_a_thing"] or (word == "and" and not _and_goes_on(row, i, head))


def _starts_anew(row: list[Item], i: int, head: Mention, item: Mention) -> bool:
    """Whether a mention after a negated one, with nothing but words between, is a new wish."""
    if item.start < head.end:
        return False  # two readings of one word
    between = set()
    for previous in reversed(row[:i]):
        if previous is head:
            break
        if isinstance(previous, Token):
            between.add(previous.word)
    if between & {"or", "nor", "and", "/", "&", ",", "any", "y", "et", "oder", "und", "ni", "o", "ou", "noch"}:
        return False
    if item.kind in ("key", "chords", "duration"):
        return True
    if item.family != head.family:
        return head.kind in ("instrument", "voice", *_MEASURES)
    return head.kind in ("instrument", "voice") and not between


def _and_goes_on(row: list[Item], i: int, head: Mention) -> bool:
    """Whether "and" joins the negated thing to another of its kind."""
    for item in row[i + 1 : i + 3]:
        if isinstance(item, Mention):
            return item.constraint is not None and item.family == head.family
        if item.word in words_table()["scope"]["new_wish"] or not item.is_word:
            return False
    return False


def _list_goes_on(row: list[Item], i: int) -> bool:
    """Whether a comma stands in a list of bare things that ends in "or" or "nor"."""
    scope = words_table()["scope"]
    expect_thing = True
    for item in row[i + 1 : i + 24]:
        if isinstance(item, Mention):
            if item.constraint is None:
                return False
            expect_thing = False
        elif item.word in ("or", "nor"):
            return True
        elif item.word == ",":
            if expect_thing:
                return False
            expect_thing = True
        elif not item.is_word or item.word in scope["ends_after_a_thing"] or item.word in scope["new_wish"]:
            return False
    return False


def weigh(parts: list[list[Item]]) -> None:
    """Gives every clause's mentions the weight that a degree word of the clause says."""
    for clause in parts:
        weight, behind = 1.0, 0
        last = max((i for i, item in enumerate(clause) if _asks(item)), default=-1)
        for i, item in enumerate(clause):
            if isinstance(item, Mention) and item.kind == "weight":
                if rx("<<weight_behind>>").match(item.cue) or last < i:
                    for earlier in filter(_asks, clause[behind:i]):
                        earlier.weight = item.weight
                else:
                    weight = item.weight
                behind = i
            elif _asks(item) and weight != 1.0:
                item.weight = weight


def drop_optional(source: Source, parts: list[list[Item]]) -> None:
    """Takes back the wishes of "with or without vocals" and "vocals are fine": either will do."""
    for clause in parts:
        for i, item in enumerate(clause):
            if not isinstance(item, Mention) or not item.kind.startswith("optional"):
                continue
            side = clause[i + 1 : i + 7] if item.kind == "optional" else clause[max(0, i - 7) : i][::-1]
            wish = next(filter(_asks, side), None)
            if wish is not None:
                start, end = min(item.start, wish.start), max(item.end, wish.end)
                source.note(f"{source.quote(start, end)}: either will do, so it is no wish")
                wish.constraint, wish.spoken, wish.kind = None, False, "filler"


def soften_modified(source: Source, row: list[Item]) -> None:
    """Reads "no soft vocals" as a weaker "no vocals": the adjective is not negated by itself."""
    for first, second in pairwise(filter(_asks, row)):
        adjacent = not source.low[first.end : second.start].strip(" -")
        if first.negated and second.negated and adjacent and first.kind == "mood" and second.family == "heard":
            first.constraint = None
            second.weight = min(second.weight, 0.5)
            words = source.quote(first.start, second.end)
            source.note(f"no {words}: '{source.cut(second.start, second.end)}' is unwanted with less weight")


def settle_contradictions(source: Source) -> None:
    """Drops what is wanted and unwanted at once ("melancholic but not sad"): only the words can tell."""
    signs: dict[tuple[str, bool], set[bool]] = {}
    bare = [(m, m.constraint) for m in source.mentions if isinstance(m.constraint, Presence) and m.place is None]
    for mention, wish in bare:
        signs.setdefault((wish.concept, wish.solo), set()).add(mention.negated)
    for mention, wish in bare:
        if len(signs[wish.concept, wish.solo]) == 2:
            source.note(f"'{wish.concept}' is both wanted and unwanted: compared as words only")
            mention.constraint = None


def settle_measures(source: Source) -> None:
    """A track has one tempo, key and metre: several are alternatives, and a plain one beats an implied one."""
    group = max((m.any_of for m in source.mentions), default=0)
    for kind in ("tempo", "key", "metre"):
        wanted = [m for m in source.mentions if m.kind == kind and m.constraint is not None and not m.negated]
        if kind == "metre" and any(not m.spoken for m in wanted):
            for mention in wanted:
                if mention.spoken:
                    source.note(f"{source.quote(mention.start, mention.end)} sets no metre: the query names one")
                    mention.constraint = None
            wanted = [m for m in wanted if m.constraint is not None]
        if len({m.constraint for m in wanted}) > 1 and not all(m.any_of for m in wanted):
            group += 1
            for mention in wanted:
                mention.any_of = group
            words = ", ".join(source.quote(m.start, m.end) for m in sorted(wanted, key=lambda m: m.start))
            source.note(f"several wishes for the {kind} ({words}): any of them will do")


def alternatives(row: list[Item]) -> None:
    """Groups what "or" joins: "piano or guitar", "piano, harp or guitar"."""
    group = max((m.any_of for m in row if isinstance(m, Mention)), default=0)
    heads = [(i, m) for i, m in enumerate(row) if _asks(m)]
    for (i, a), (j, b) in pairwise(heads):
        between = [x.word for x in row[i + 1 : j] if isinstance(x, Token)]
        others = [x for x in row[i + 1 : j] if isinstance(x, Mention) and x.kind != "plain"]
        if others or a.negated or b.negated or a.family != b.family or b.start < a.end:
            continue
        if "or" in between or between == ["/"]:
            if not a.any_of:
                group += 1
                a.any_of = group
            b.any_of = a.any_of
            _spread_back(row, i, a)


def _spread_back(row: list[Item], i: int, a: Mention) -> None:
    """Takes the earlier things of a comma list into the group."""
    comma = False
    for item in reversed(row[:i]):
        if isinstance(item, Token):
            if item.word != ",":
                return
            comma = True
        elif comma and item.constraint is not None and not item.negated and item.kind == a.kind and not item.any_of:
            item.any_of = a.any_of
            comma = False
        else:
            return
