"""The text of a query in views of equal length, its words, and what has been claimed of it.

Every detector works on character positions of one cleaned text, so that each constraint can show the words it came
from. ``raw`` keeps the case and spells musical symbols plainly (``♭`` as ``b``); ``low`` is also lower-case and
without accents.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache

from solfa.constraints import Constraint, Place
from solfa.core.errors import InputError
from solfa.query.lexis import Regexes, symbols

regex = Regexes("source")

MAX_CHARS = 100_000

# Control characters, lone surrogates and odd line ends become spaces; invisible format characters vanish.
_CLEAN = {"Cc": " ", "Cs": " ", "Zl": " ", "Zp": " ", "Cf": ""}
_SPACES = re.compile(r"[^\S\n]+")
_TOKEN = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*|\d+(?:[.,:]\d+)*|\n|[^\w\s]|_")


@cache
def _fold(char: str) -> str:
    code = ord(char)
    if code < 0x250 or 0x1E00 <= code < 0x1F00 or 0xFF00 <= code < 0xFF60:
        char_or_base = unicodedata.normalize("NFKD", char)[0]
        char = char_or_base if not char_or_base.isspace() or char.isspace() else char
    lower = char.lower()
    return lower if len(lower) == 1 else char


def fold(text: str) -> str:
    """Lower-case text without accents, one character for each.

    >>> fold("Très Lent")
    'tres lent'
    """
    return "".join(map(_fold, text))


@dataclass(frozen=True, slots=True)
class Token:
    """A word, a number, or one other character; ``word`` is its folded form."""

    start: int
    end: int
    word: str

    @property
    def is_word(self) -> bool:
        """Whether it is made of letters or digits."""
        return self.word[0].isalnum()


_FAMILY = {"mood": "feel", "tempo": "feel", "instrument": "audible", "voice": "audible", "sound": "audible"}


@dataclass(slots=True)
class Mention:
    """Something recognised between two positions.

    ``kind`` is that of a vocabulary concept, or tempo, key, metre, chords, duration, dynamics; or, where the mention
    only changes others: negation, weight, place, only, filler. ``spoken`` mentions remain in the phrases.
    """

    start: int
    end: int
    kind: str
    constraint: Constraint | None = None
    spoken: bool = False
    negated: bool = False
    weight: float = 1.0
    place: Place | None = None
    cue: str = ""
    any_of: int = 0
    said_from: int = -1  # where the negation before it starts, if it belongs to the constraint's words

    @property
    def family(self) -> str:
        """What "and" and "or" join: instruments with voices, moods with tempi, else things of one kind."""
        return _FAMILY.get(self.kind, self.kind)


@dataclass(slots=True)
class Source:
    """A query's text, with what is said about it along the way."""

    text: str
    raw: str
    low: str
    tokens: tuple[Token, ...]
    mentions: list[Mention] = field(default_factory=list)
    unknown: list[tuple[int, int]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    spelling: dict[int, str] = field(default_factory=dict)  # corrected words by their position
    reach: list[tuple[int, int]] = field(default_factory=list)  # stretches that a negation covers
    _ends: dict[int, Mention] = field(default_factory=dict)
    _taken: bytearray = field(default_factory=bytearray)

    @classmethod
    def of(cls, text: str) -> "Source":
        """The views of a text.

        Raises InputError if the text is blank or longer than ``MAX_CHARS``.
        """
        if len(text) > MAX_CHARS:
            raise InputError(
                f"the query has {len(text):,} characters; at most {MAX_CHARS:,} are read. Shorten it, or use --like."
            )
        text = unicodedata.normalize("NFC", text)
        text = "".join(_CLEAN.get(unicodedata.category(c), c) if c != "\n" else c for c in text)
        text = _SPACES.sub(" ", text).strip()
        if not text:
            raise InputError("the query is empty. Describe the music, e.g. 'slow waltz in D minor, solo piano'.")
        raw = text.translate(symbols())
        low = fold(raw)
        tokens = tuple(Token(m.start(), m.end(), m[0]) for m in _TOKEN.finditer(low))
        return cls(text, raw, low, tokens, _taken=bytearray(len(text)))

    def free(self, start: int, end: int) -> bool:
        """Whether nothing between the positions has been claimed."""
        return self._taken.find(1, start, end) == -1

    def matches(self, pattern: re.Pattern[str]) -> Iterator[re.Match[str]]:
        """Where a pattern is in the folded text, as far as nothing has been claimed there by then."""
        return (match for match in pattern.finditer(self.low) if self.free(*match.span()))

    def claim(self, start: int, end: int) -> None:
        """Take the characters for good."""
        self._taken[start:end] = b"\x01" * (end - start)

    def add(self, mention: Mention) -> Mention:
        """Record a mention and claim its characters."""
        self.claim(mention.start, mention.end)
        self.mentions.append(mention)
        self._ends[mention.end] = mention
        return mention

    def stretch(self, mention: Mention, start: int, end: int) -> None:
        """Make a mention longer."""
        self.claim(start, end)
        mention.start, mention.end = start, end
        self._ends[end] = mention

    def note(self, message: str) -> None:
        """Say what was assumed, once."""
        if message not in self.notes:
            self.notes.append(message)

    def forget(self, mention: Mention) -> None:
        """Make a mention ask nothing, and take back what it was read as; its words are spoken for elsewhere."""
        mention.constraint, mention.spoken, mention.kind = None, False, "gone"
        read = f"{self.quote(mention.start, mention.end)} read as "
        self.notes = [note for note in self.notes if not note.startswith(read)]

    def not_understood(self, start: int, end: int, reason: str) -> None:
        """Set a stretch apart as unknown, with the reason."""
        self.claim(start, end)
        self.unknown.append((start, end))
        self.note(f"{self.quote(start, end)} was not understood: {reason}")

    def cut(self, start: int, end: int) -> str:
        """The user's words between two positions, on one line."""
        return " ".join(self.text[start:end].split())

    def quote(self, start: int, end: int) -> str:
        """``cut`` in quotation marks, for notes."""
        return f"'{self.cut(start, end)}'"

    def before(self, position: int, chars: int = 60) -> str:
        """The folded text just before a position."""
        return self.low[max(0, position - chars) : position]

    def after(self, position: int, chars: int = 60) -> str:
        """The folded text from a position on."""
        return self.low[position : position + chars]

    def alone(self, start: int, end: int) -> bool:
        """Whether nothing else is in the clause."""
        return bool(regex.clause_before.search(self.before(start)) and regex.clause_behind.match(self.low, end))

    def ends_at(self, position: int) -> str:
        """The kind of the mention that ends at a position, if one does."""
        return self._ends[position].kind if position in self._ends else ""

    def joined_before(self, mention: Mention, *, commas: bool) -> list[Mention]:
        """The things that "and" or "or" joins to one, and with ``commas`` the list before: "harp, oboe and tuba"."""
        found: list[Mention] = []
        start, joint = mention.start, regex.joint
        while len(found) < 24 and (gap := joint.search(self.before(start, 16))):
            other = self._ends.get(start - len(gap[0]))
            if other is None or other.constraint is None or other.family != mention.family:
                break
            found.append(other)
            if not commas:
                break
            start, joint = other.start, regex.comma
        return found

    def audible_before(self, position: int, kinds: tuple[str, ...] = ("instrument", "voice", "sound")) -> bool:
        """Whether a mention of these kinds is just before, with one word between at most."""
        for end in range(position, max(position - 24, 0), -1):
            if self.ends_at(end) in kinds:
                between = regex.denying.sub("", self.low[end:position]).strip(" -")
                return len(between.split()) <= 1 and not set(between) & set(",.;")
        return False
