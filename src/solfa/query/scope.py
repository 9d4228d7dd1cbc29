"""What small words do to the words next to them: negation, weight, alternatives.

A negation reaches to the end of its clause, or to a word that starts something new ("but", "with", "for"); "or" and
"nor" always carry it on, "and" only between things of one kind, a comma only inside a list that ends in "or". A
negation of a negation cancels it. A degree word ("must", "ideally") reaches to the end of its clause.
"""

import re
from dataclasses import replace
from itertools import pairwise
from typing import TypeGuard

from solfa.constraints import FASTEST_BPM, LONGEST_S, SLOWEST_BPM, Constraint, Duration, Presence, Tempo
from solfa.query.lexis import Regexes, empty_words, patterns_table, rx, words_table
from solfa.query.place import Item
from solfa.query.source import Mention, Source, Token

regex = Regexes("scope")

LONGEST = 1 << 30
_HARD = {".", ";", "!", "?", "\n", "(", ")", ":", "|"}
_CLAUSE_WORDS = {",", "but", "then", "before", "while", "followed"}
_MEASURES = ("chords", "key", "metre", "tempo", "duration")
_TOO = ("too", "overly", "excessively")
_ADJECTIVES = ("mood", "dynamics", "tempo")
_MODIFIERS = ("weight", "optional", "optional_after", "filler")


def items(source: Source) -> list[Item]:
    """Mentions and the tokens outside them, in order."""
    cover = bytearray(len(source.text))
    for start, end in [*((m.start, m.end) for m in source.mentions), *source.unknown]:
        cover[start:end] = b"\x01" * (end - start)
    row: list[Item] = [m for m in source.mentions if m.kind != "gone"]
    row += [t for t in source.tokens if cover.find(1, t.start, t.end) == -1]
    return sorted(row, key=lambda i: (i.start, i.end))


def _concept(mention: Mention) -> str:
    return mention.constraint.concept if isinstance(mention.constraint, Presence) else ""


def _asks(item: Item | None) -> TypeGuard[Mention]:
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
        self.subject: Mention | None = None  # the thing that the negation stands behind: "the drums never ..."
        self.label = False  # whether it heads a list: "exclude: drums, bass"
        self.thing: Mention | None = None  # what "them" or "it" is
        self.last: Mention | None = None  # the thing just before, with nothing but small words since
        self.opens = True  # whether the sentence wanted nothing before the negation
        self.doubted: list[Mention] = []  # of what it cannot be determined whether it is wanted
        self.doubts = False  # whether this is so of all that the negation reaches
        self.negative = False  # whether something of this sentence is unwanted: an exception to it is wanted

    def lists(self) -> bool:
        """Whether a list that "and" ends is unwanted as a whole: "avoid drums, bass and vocals", not "not sad, ..."."""
        if self.cue is None or self.head is None or regex.excludes.match(self.cue.cue):
            return self.cue is not None and self.head is not None
        plain = self.cue.cue.startswith("without") or (self.cue.cue == "no" and self.opens)
        return plain and self.head.kind in ("instrument", "sound")

    def universal(self) -> bool:
        """Whether it is an exception to all: "everything but the bass"."""
        low, cue = self.source.low, self.cue
        return cue is not None and cue.cue == "exception" and low.startswith(("every", "all", "any"), cue.start)

    def verb_of_its_own(self, item: Mention) -> bool:
        """Whether a verb behind the negated noun is that of the sentence: "a choir without accompaniment sings"."""
        cue, low = self.cue, self.source.low
        if cue is None or cue.cue != "without" or self.head is not None or self.end == cue.end:
            return False
        return bool(regex.sings.match(low, item.start)) and not regex.relative.search(low, cue.end, item.start)

    def speaks_of(self, pronoun: Token) -> bool:
        """Whether a pronoun right behind the negation stands for the thing before, now unwanted: "hate them"."""
        assert self.cue is not None
        near = self.head is None and self.end == self.cue.end == pronoun.start - 1 and self.flips
        ends = (self.source.low[pronoun.end : pronoun.end + 1] or ".") in ".,;!?\n"
        if near and ends and self.thing and not regex.plain_cue.match(self.cue.cue):
            self.thing.negated = self.thing.negated or pronoun.word == "it" or self.thing.family == "audible"
            return True
        return False

    def looks_back(self, cue: Mention) -> bool:
        """Whether a negation is about what stands before it: "the drums never come in", "drums, please don't"."""
        low, verb = self.source.low, cue.start + len(regex.verb_at_end.sub("", cue.cue))
        if regex.noun_cue.match(cue.cue):
            return cue.cue in ("no", "not") and bool(regex.sentence_end.match(low, cue.end))
        spoken = self.head is None and (regex.verb.match(cue.cue) or self.end > cue.end)
        elliptic = regex.elliptic.match(cue.cue) and not regex.pronoun.search(cue.cue)
        behind = elliptic and regex.nothing_behind.match(low, cue.end)
        return bool(behind or (spoken and regex.silent.match(low, verb)))

    def refers_back(self, thing: Mention, cue: Mention) -> bool:
        """Whether a negation in the sentence of a thing or the next may be about it: "This one shouldn't."."""
        between = self.source.low[thing.end : cue.start]
        stops = len(regex.stop.findall(between))
        said = set(regex.fragment.split(between)[-1].split())
        small = said <= empty_words().union(words_table()["scope"]["refers_back"])
        return small and stops <= 1 if stops or regex.noun_cue.match(cue.cue) else True

    def close(self) -> None:
        """Ends the reach; one that met nothing but a verb is about the thing before it ("the drums never come in")."""
        if self.cue is not None and self.flips:
            if self.end > self.cue.end:
                self.source.reach.append((self.cue.end, self.end))
            if not self.head and self.cue.cue != "exception":
                self.look_back(self.cue)
        self.cue, self.doubts = None, False

    def look_back(self, cue: Mention) -> None:
        """Gives a negation that met nothing to the thing before it; where that is not sure, the thing is unclear."""
        low, subject, thing = self.source.low, self.subject, self.thing
        back = self.looks_back(cue) or (regex.attitude.search(cue.cue) and regex.at_end.match(low, self.end))
        noun = regex.noun_cue.match(cue.cue) or regex.pronoun.search(cue.cue)
        stranded = not noun and regex.sentence_end.match(low, cue.end)
        unknown_verb = subject and subject.family == "audible" and regex.verb.match(cue.cue)
        if back and subject:
            for other in (subject, *self.source.joined_before(subject, commas=True)):
                other.negated = True
        elif (back or stranded) and thing and cue.start - thing.end < 80 and self.refers_back(thing, cue):
            self.doubted += [thing, *self.source.joined_before(thing, commas=True)]
        elif subject and unknown_verb and not regex.quality.match(low, cue.end):
            self.doubted += [subject, *self.source.joined_before(subject, commas=True)]

    def open(self, cue: Mention) -> None:
        """Starts a reach, or cancels the one that has met nothing yet ("not without drums")."""
        if self.cue is not None and cue.cue in _TOO:
            return  # "neither too fast nor too loud"
        exception, thing = cue.cue == "exception", self.thing
        self.subject, self.last = None if exception else self.last, None
        inside = self.cue is not None and self.flips and (self.head is not None or self.end > self.cue.end)
        nested = inside and self.head is None and not exception and not regex.plain_cue.match(cue.cue)
        said = self.source.low[self.cue.end : cue.start].split() if self.cue and nested else []
        if self.cue is not None and self.cue.cue == "exception" and not self.head and not inside:
            self.close()  # "all instruments but no bass"
            self.flips = True
        elif self.cue is not None and (not inside or (nested and empty_words().issuperset(said))) and not exception:
            self.flips = not self.flips  # "not without drums", "no songs without drums"
        elif inside and exception:  # "no instruments except piano"
            self.close()
            self.flips = False
        else:
            self.close()
            besides = self.source.low.startswith("besides", cue.start)
            self.flips = not (exception and (self.negative or besides))
        if (said_of := regex.pronoun.search(cue.cue)) and self.thing and not self.thing.negated:
            self.thing.negated = said_of[0] == " it" or self.thing.family == "audible"  # "trumpets? leave them out"
        self.negative = self.negative or not exception
        if cue.cue.endswith((" by", " with", " for")) and regex.pronoun.search(cue.cue):
            return  # "ditch the strings and replace them by brass"
        self.cue, self.head, self.end, self.label = cue, None, cue.end, False
        self.doubts = nested and self.flips  # "I cannot imagine it without drums"
        if exception and thing and thing.family in ("feel", "genre") and cue.start - thing.end <= 1:
            everything = regex.all_of_a_kind.search(self.source.before(thing.start))
            self.doubts = self.doubts or everything is not None  # "everything acoustic except the drums"

    def pass_by(self, item: Item) -> None:
        """Remembers what a negation or an exception further on may be about."""
        if isinstance(item, Token):
            self.negative = self.negative and item.word not in _HARD
            self.opens = self.opens or item.word in _HARD
            if item.word not in words_table()["scope"]["between"]:
                self.last = None
        elif item.constraint is not None:
            self.last = self.thing = item
            self.opens = self.opens and item.negated
            self.negative = self.negative or item.negated
        elif item.kind not in ("filler", "weight"):
            self.last = None

    def meet(self, mention: Mention) -> None:
        """Turns a mention round."""
        assert self.cue is not None
        if self.doubts:
            self.doubted.append(mention)
        elif self.flips:
            twice = mention.said_from >= 0 and self.cue.weight < 1  # "too many ruin it"
            mention.negated = not mention.negated or twice
            if self.cue.weight != 1:
                mention.weight = self.cue.weight
            gap = self.source.low[self.cue.end : mention.start].split()
            if self.head is None and len(gap) <= 1 and self.cue.cue != "exception":
                mention.said_from = self.cue.start
        if regex.contrasts.match(self.cue.cue) and not self.doubts:  # "choir and orchestra rather than choir and organ"
            concept = _concept(mention)
            wanted = {_concept(m) for m in self.source.mentions if m.end <= self.cue.start and not m.negated}
            if concept and concept in wanted:
                mention.constraint = None
        self.head = self.thing = mention
        self.end = mention.end


def negate(source: Source, row: list[Item]) -> None:
    """Turns round what negations reach."""
    state = _Negation(source)
    for i, item in enumerate(row):
        if isinstance(item, Mention) and item.kind == "negation":
            state.open(item)
            if state.subject and state.cue and state.flips and state.looks_back(state.cue):
                state.close()
        elif state.cue is None:
            state.pass_by(item)
        elif isinstance(item, Token):
            if _ends(source, row, i, state):
                if state.head and item.word in ("is", "are", "was", "were") and _of_some(source, row, i, state):
                    state.doubted.append(state.head)  # "all but the drums is acoustic", "no guitar is distorted"
                state.close()
                state.pass_by(item)
            elif item.word in ("them", "it", "those") and state.speaks_of(item):
                state.close()
            elif item.is_word:
                state.end = item.end
        elif item.constraint is not None and state.verb_of_its_own(item):
            state.close()
        elif item.constraint is not None:
            listed = state.label and (item.kind not in _MEASURES or item.spoken)
            if state.head is not None and not listed and (state.label or _starts_anew(row, i, state.head, item)):
                state.close()
            else:
                state.meet(item)
                if state.cue.cue in ("non", "un"):  # "non-orchestral fantasy music"
                    state.close()
        elif item.kind == "correction":
            state.close()
        elif item.kind == "plain" or (item.kind == "place" and item.cue == "noun" and state.head is None):
            state.end = max(state.end, item.end)
        elif item.kind == "event" and state.head is not None and state.universal():
            state.head.negated, state.head.said_from, item.kind = False, -1, "filler"  # "all but the strings stop"
            state.close()
        elif item.kind in _MODIFIERS and state.head is not None:
            state.close()
    state.close()
    unclear(source, state.doubted)


def unclear(source: Source, things: list[Mention], start: int = LONGEST, end: int = 0) -> None:
    """Says of things, and of the words from ``start`` to ``end``, that it is not clear whether they are wanted."""
    things = [m for m in things if m.constraint is not None]
    for thing in things:
        start, end = min(start, thing.start), max(end, thing.end)
        source.forget(thing)
    if things:
        source.not_understood(start, end, "it is not clear whether it is wanted; say 'with ...' or 'no ...'")


def doubt(source: Source, parts: list[list[Item]]) -> None:
    """Sets apart the things of a clause whose words leave it open: "why is there no flute", "drums are overdone"."""
    before: list[Mention] = []
    for clause in parts:
        cues = [m for m in clause if isinstance(m, Mention) and m.kind == "doubt"]
        things = list(filter(_asks, clause))
        pronoun = isinstance(clause[0], Token) and clause[0].word in ("they", "it", "those", "that")
        if cues and not things and (pronoun or source.before(clause[0].start, 3).rstrip().endswith("?")):
            things = [m for m in before[-1:] if m.family == "audible"]  # "drums? They get on my nerves."
        before = things
        if cues and things:
            things += source.joined_before(things[0], commas=True)
            unclear(source, things, cues[0].start, cues[-1].end)


def _ends(source: Source, row: list[Item], i: int, state: _Negation) -> bool:
    """Whether a token ends the reach of a negation."""
    token, cue, head = row[i], state.cue, state.head
    assert isinstance(token, Token) and cue is not None
    word, data, verb = token.word, words_table()["scope"], bool(regex.verb.match(cue.cue))
    if word in "(:" and not source.low[cue.end : token.start].strip():  # "not (drums or bass)", "exclude: drums, bass"
        state.label = state.label or word == ":"
        return False
    if state.label and word in (",", "and", "/", "&"):
        return False
    if word in _HARD or word in data["contrast"] or regex.ends.match(source.low, token.start):
        return True
    if word == "more" and head is not None and cue.cue in ("less", "fewer"):
        return True  # "less drums more bass"
    if source.raw[token.start : token.end] == "AND":
        return source.raw[cue.start : cue.end] == "NOT" and "(" not in source.low[cue.end : token.start]
    if word == ",":
        return _ends_at_comma(source, row, i, state, verb=verb)
    if cue.cue in ("instead of", "rather than") and state.end > cue.end and word in data["subjects"]:
        return True  # "instead of ending with a fade it ends on a chord"
    if head is None:  # "no reverb on the guitar" ends at "on", "not suitable for parties" does not end at "for"
        if word in data["conjunctions"] or (word == "and" and _verb_next(row, i)):
            return True
        noun = cue.cue in data["before_nouns"] and state.end > cue.end
        return noun and word in data["prepositions"] and not (word == "with" and _only_noise(row, i, state))
    if word == "and":
        return not _and_goes_on(row, i, head, verb=verb, the=source.low.endswith(" the ", 0, head.start))
    return word in patterns_table()["ends_after_a_thing"]


def _ends_at_comma(source: Source, row: list[Item], i: int, state: _Negation, *, verb: bool) -> bool:
    if any(getattr(x, "word", "") in words_table()["scope"]["examples"] for x in (row[i - 1], *row[i + 1 : i + 2])):
        return False  # "no percussion, especially drums", "rather than, say, a gong"
    ahead = _ahead(row, i)  # whether a list of bare things ends in "or", after a verb or in such a list also in "and"
    goes_on = bool((regex.list_after_verb if verb else regex.list_with_or).match(ahead))
    goes_on = goes_on or (state.lists() and regex.list_with_and.match(ahead) is not None)
    if not verb and state.head and state.flips and regex.list_after_verb.match(ahead):
        if state.cue and state.cue.weight < 1 and not goes_on:  # "less harp, oboe and tuba"
            state.doubted += _listed(row, i)
            return True
        after = next((x for x in row[i + 1 :] if isinstance(x, Mention)), row[i + 1])  # "no piano, huge and"
        read = "unwanted too" if goes_on else "wanted"
        how = "'with' before what is wanted" if goes_on else "'or' for 'and' to shut it out"
        source.note(f"what follows {source.quote(state.head.start, state.head.end)} is read as {read}, "
                    f"from {source.quote(after.start, after.end)} on: write {how}")  # fmt: skip
    return not goes_on


def _of_some(source: Source, row: list[Item], i: int, state: _Negation) -> bool:
    """Whether "is" goes on about some of many and not about what is there: "none of the guitars are distorted"."""
    after, end = row[i + 1] if i + 1 < len(row) else None, row[i].end
    some = state.universal() or (state.cue is not None and bool(re.match(r"no\b|none\b", state.cue.cue)))
    said = _asks(after) or (isinstance(after, Token) and after.word not in words_table()["scope"]["judged"])
    return some and said and not rx(" <<presence>>").match(source.low, end)


def _only_noise(row: list[Item], i: int, state: _Negation) -> bool:
    """Whether "with" follows a word for any music: "no songs with drums"."""
    before = row[i - 1]
    return isinstance(before, Token) and before.word in words_table()["noise"] and row[max(0, i - 2)] is state.cue


def _verb_next(row: list[Item], i: int) -> bool:
    """Whether a verb of its own follows "and": "does not slow down and ends with a fade"."""
    after = row[i + 1] if i + 1 < len(row) else None
    if isinstance(after, Mention):
        return after.kind == "event" or after.cue == "lead"
    return after is not None and bool(regex.a_verb.fullmatch(after.word))


def _starts_anew(row: list[Item], i: int, head: Mention, item: Mention) -> bool:
    """Whether a mention after a negated one, with nothing but words between, is a new constraint."""
    if item.start < head.end:
        return False  # two readings of one word
    between = set()
    for previous in reversed(row[:i]):
        if previous is head:
            break
        if isinstance(previous, Token):
            between.add(previous.word)
    if between == {"/"} and item.family != head.family:
        return True  # "no vocals/tech house"
    if between & {"or", "nor", "and", "/", "&", ",", "any", "y", "et", "oder", "und", "ni", "o", "ou", "noch", "ne"}:
        return False
    if item.kind in ("key", "chords", "duration") or (item.kind in ("tempo", "metre") and not item.spoken):
        return True
    if not between and head.kind in _ADJECTIVES and head.spoken and item.family == "audible":
        return False  # "no slow piano"
    if item.family != head.family:
        return head.kind in ("instrument", "voice", "sound", *_MEASURES)
    return head.kind in ("instrument", "voice", "sound") and between <= {"the", "a", "an"}


def _ahead(row: list[Item], i: int, head: Mention | None = None) -> str:
    """What follows an item, for regexes: words, and signs for things like ``head``, for other things and for cues."""
    signs = [
        x.word if isinstance(x, Token)
        else "\x03" + x.cue * (x.cue == "nor") if x.constraint is None
        else "\x01" if head is not None and x.family == head.family
        else "\x02"
        for x in row[i + 1 : i + 24]
    ]  # fmt: skip
    return " ".join([*signs, ""])


def _and_goes_on(row: list[Item], i: int, head: Mention, *, verb: bool, the: bool) -> bool:
    """Whether "and" joins the negated thing to another of its kind; after a verb also "and a flute", if that is all."""
    ahead = _ahead(row, i, head)
    joins = regex.and_another.match(ahead) or (verb and regex.and_an_other.match(ahead))
    return bool(joins or (the and regex.and_the_other.match(ahead)))  # "get rid of the drums and the vocals"


def _listed(row: list[Item], i: int) -> list[Mention]:
    """The things of the list that a comma at ``i`` stands in."""
    found = regex.listed.match(_ahead(row, i))
    return [m for m in row[i + 1 : i + 24] if _asks(m)][: found[0].count("\x02") if found else 0]


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
    """Takes back the constraints of "with or without vocals" and "vocals are fine": either will do."""
    for clause in parts:
        for i, item in enumerate(clause):
            if not isinstance(item, Mention) or not item.kind.startswith("optional"):
                continue
            side = clause[i + 1 : i + 7] if item.kind == "optional" else clause[max(0, i - 7) : i][::-1]
            thing = next(filter(_asks, side), None)
            if thing is not None:
                start, end = min(item.start, thing.start), max(item.end, thing.end)
                source.note(f"{source.quote(start, end)}: either is accepted, so it is not a constraint")
                source.forget(thing)


def soften_modified(source: Source, row: list[Item]) -> None:
    """Reads "no soft vocals" as a weaker "no vocals": the adjective is not negated by itself."""
    for first, second in pairwise(filter(_asks, row)):
        adjacent = not source.low[first.end : second.start].strip(" -")
        if first.negated and second.negated and adjacent and first.kind in _ADJECTIVES and second.family == "audible":
            first.constraint = None
            second.weight = min(second.weight, 0.5)
            words = source.quote(first.start, second.end)
            source.note(f"no {words}: '{source.cut(second.start, second.end)}' is unwanted with less weight")


def correct(source: Source, row: list[Item]) -> None:
    """Takes back what the query itself corrects: "120 bpm, actually make that 100", "in C, no wait, in D"."""
    for i, item in enumerate(row):
        if isinstance(item, Mention) and item.kind == "correction":
            before = next((m for m in reversed(row[max(0, i - 4) : i]) if _asks(m)), None)
            after = next((m for m in row[i + 1 : i + 6] if _asks(m)), None)
            if before and after and before.family == after.family:
                source.note(f"{source.quote(before.start, before.end)} is corrected to "
                            f"{source.quote(after.start, after.end)}")  # fmt: skip
                before.constraint, before.spoken = None, False


def resolve_contradictions(source: Source) -> None:
    """Settles what is wanted and unwanted at once: of one word the negation stands ("no harp, everyone uses harp"), of
    two words for one thing ("melancholic but not sad") neither: only the words can decide."""
    voices = [m for m in source.mentions if isinstance(m.constraint, Presence) and m.constraint.kind == "voice"]
    wordless = [m for m in voices if m.negated and regex.words.search(source.low[m.start : m.end])]
    for mention in wordless if any(not m.negated for m in voices) else ():  # "a female voice without words"
        source.note(f"{source.quote(mention.start, mention.end)}: voices are wanted, their words are not read")
        mention.constraint = None
    signs: dict[Constraint, list[Mention]] = {}
    for mention in sorted(source.mentions, key=lambda m: m.start):
        if mention.place is None and isinstance(mention.constraint, (Presence, Tempo)):
            signs.setdefault(replace(mention.constraint, text=""), []).append(mention)
    for asked, mentions in signs.items():
        if len({m.negated for m in mentions}) < 2:
            continue
        last = mentions[-1]
        assert last.constraint is not None
        open_ = re.search(r"\bor\b", source.low[mentions[0].end : mentions[-1].start])  # "voice or no voice"
        same_word = not open_ and len({m.constraint.text.lower() for m in mentions if m.constraint}) == 1
        what = asked.concept if isinstance(asked, Presence) else last.constraint.text
        source.note(f"'{what}' is both wanted and unwanted: "
                    + ("the negation counts" if same_word else "compared as words only"))  # fmt: skip
        for mention in mentions:
            if not (same_word and mention.negated):
                mention.constraint = None


def _bounds(constraint: Constraint | None) -> tuple[float, float, float, float] | None:
    """Low, high and what stands for no bound, of a tempo or a length that is said in numbers."""
    if isinstance(constraint, Tempo) and constraint.exact:
        return constraint.low_bpm, constraint.high_bpm, SLOWEST_BPM, FASTEST_BPM
    if isinstance(constraint, Duration):
        return constraint.low_s, constraint.high_s, 0.0, LONGEST_S
    return None


def _with_bounds(constraint: Constraint, low: float, high: float, text: str) -> Constraint:
    if isinstance(constraint, Tempo):
        return replace(constraint, low_bpm=low, high_bpm=high, text=text)
    assert isinstance(constraint, Duration)
    return replace(constraint, low_s=low, high_s=high, text=text)


def straighten(source: Source) -> None:
    """Reads "not above 100" as "at most 100", and two bounds as one range: "slower than 90 but faster than 70"."""
    open_ends: dict[str, list[Mention]] = {}
    for mention in sorted(source.mentions, key=lambda m: m.start):
        ends = _bounds(mention.constraint)
        if ends is None or mention.constraint is None or (ends[0] > ends[2]) == (ends[1] < ends[3]):
            continue
        low, high, least, most = ends
        if mention.negated:
            low, high = (high, most) if low == least else (least, low)
            start = mention.said_from if mention.said_from >= 0 else mention.start
            mention.constraint = _with_bounds(mention.constraint, low, high, source.cut(start, mention.end))
            mention.negated = False
        if not mention.any_of:
            open_ends.setdefault(mention.kind, []).append(mention)
    for pair in open_ends.values():
        if len(pair) != 2:
            continue
        (a, b), (first, second) = map(_bounds, (m.constraint for m in pair)), pair
        assert a is not None and b is not None and first.constraint is not None
        low, high = max(a[0], b[0]), min(a[1], b[1])
        if low <= high and low > a[2] and high < a[3]:
            near = second.end if second.start - first.end < 48 else first.end
            first.constraint = _with_bounds(first.constraint, low, high, source.cut(first.start, near))
            first.weight, second.constraint = max(first.weight, second.weight), None


def resolve_measures(source: Source) -> None:
    """A track has one tempo, key and metre: several are alternatives, and a plain one beats an implied one."""
    genres = {m.start for m in source.mentions if m.kind == "genre"}
    for mention in source.mentions:
        if mention.kind == "metre" and mention.negated and mention.start in genres and mention.weight < 1:
            mention.constraint = None  # "not a polka" says nothing about the metre
    group = max((m.any_of for m in source.mentions), default=0)
    for kind in ("tempo", "key", "metre"):
        wanted = [m for m in source.mentions if m.kind == kind and m.constraint is not None and not m.negated]
        named = [m for m in source.mentions if m.kind == "metre" and m.constraint is not None and not m.spoken]
        if kind == "metre" and named:  # also "a waltz, not in 3/4"
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
            source.note(f"several constraints for the {kind} ({words}): any of them will do")


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
