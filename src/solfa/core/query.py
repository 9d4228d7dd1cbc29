"""What a query asks: constraints that can be measured, and phrases that can only be compared.

The rule parser (``solfa.query``) makes these values, the search reads them. Every constraint remembers the words it
came from, so that the parse can be shown and overridden, and nothing is guessed silently.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Literal

from solfa.core.theory import Chord, Mode

# What stands for "no bound" in Tempo and Duration: finite, so that it survives JSON.
SLOWEST_BPM, FASTEST_BPM = 20.0, 400.0
LONGEST_S = 86400.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Where in the track something is asked to be, as fractions 0..1 of the track.

    ``event`` says what happens there: it is heard there (``in``), begins there and not before (``enters``),
    ends there (``leaves``), or is heard nowhere else (``only``).

    Where the query names seconds ("at 0:30", "the last 20 seconds"), ``start_s`` and ``end_s`` hold them and go before
    the fractions; a negative value counts from the end of the track, None means the track's own start or end.
    """

    start: float
    end: float
    event: Literal["in", "enters", "leaves", "only"] = "in"
    start_s: float | None = None
    end_s: float | None = None

    @property
    def absolute(self) -> bool:
        """Whether the place is given in seconds."""
        return self.start_s is not None or self.end_s is not None

    def span_s(self, duration_s: float) -> tuple[float, float]:
        """Start and end in seconds within a track of this length, 0 <= start <= end <= duration.

        >>> Place(start=0.5, end=1.0).span_s(200.0), Place(start=0, end=1, start_s=-20.0).span_s(200.0)
        ((100.0, 200.0), (180.0, 200.0))
        """
        if not self.absolute:
            return self.start * duration_s, self.end * duration_s
        ends = []
        for value, default in ((self.start_s, 0.0), (self.end_s, duration_s)):
            value = default if value is None else value
            ends.append(min(max(value + duration_s if value < 0 else value, 0.0), duration_s))
        return ends[0], max(ends)


@dataclass(frozen=True, kw_only=True, slots=True)
class Constraint:
    """Base: ``text`` is the part of the query it came from; ``weight`` 1 is an ordinary wish, >1 a must.

    ``negated`` turns the wish round ("no vocals", "not in F major"). Constraints with the same ``any_of`` above 0 are
    alternatives ("piano or guitar"): the one that fits best counts for all of them.
    """

    text: str
    negated: bool = False
    weight: float = 1.0
    any_of: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Tempo(Constraint):
    """Tempo between two bounds in BPM; outside them satisfaction falls off smoothly on a log scale.

    A single number has equal bounds; an open end is ``SLOWEST_BPM`` or ``FASTEST_BPM``. ``exact`` is False
    where the words name a feel ("slow"), whose half and double tempo count as well.
    """

    low_bpm: float
    high_bpm: float
    exact: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class InKey(Constraint):
    """A tonic, a mode, or both. ``compatible`` also takes the relative key and neighbours on the wheel."""

    tonic: int | None = None
    mode: Mode | None = None
    compatible: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Metre(Constraint):
    """Any one of these metres ("4/4"); "in five" is ("5/4", "5/8"), a waltz ("3/4",)."""

    metres: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Chords(Constraint):
    """A chord sequence, matched in order and up to rotation.

    ``transposable``: only the intervals between roots count (Roman numerals, "I-vi-IV-V in any key").
    For Roman numerals without a key, roots are relative to C. ``loose_quality``: the triad is enough.
    Neighbouring chords differ: how long a chord lasts is not part of the wish.
    """

    chords: tuple[Chord, ...]
    transposable: bool = False
    loose_quality: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Presence(Constraint):
    """A concept of the vocabulary is heard (instrument, voice, genre, mood, use), perhaps at a place.

    ``solo``: it plays alone or leads ("solo piano", "guitar solo").
    """

    concept: str
    kind: str
    place: Place | None = None
    solo: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Dynamics(Constraint):
    """A shape of the energy curve: ``quiet``/``loud`` at a place, or ``rises``/``falls``/``steady``/``varies``."""

    shape: Literal["quiet", "loud", "rises", "falls", "steady", "varies"]
    place: Place | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Duration(Constraint):
    """Length of the track in seconds; an open end is 0 or ``LONGEST_S``."""

    low_s: float
    high_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """A parsed query.

    ``phrases`` is the rest that is compared by embedding (with negated phrases apart); ``words`` is what full-text
    search on tags sees; ``unknown`` is what was not understood and not compared either (said to the user). ``notes``
    say what was assumed ("'slow' read as 40-76 BPM") and why something is unknown.
    """

    text: str
    constraints: tuple[Constraint, ...] = ()
    phrases: tuple[str, ...] = ()
    negated_phrases: tuple[str, ...] = ()
    words: str = ""
    unknown: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


# --- filters --------------------------------------------------------------------------------------------------------

FieldKind = Literal["number", "text", "key", "metre", "concept"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """Something that ``--where`` can ask about. ``source`` says whose word it is: measured, the file's tags, the file.

    ``kinds`` names the vocabulary kinds that a concept field takes.
    """

    kind: FieldKind
    source: Literal["measured", "tags", "file"]
    meaning: str
    kinds: tuple[str, ...] = ()


FIELDS: dict[str, Field] = {
    "tempo_bpm": Field(kind="number", source="measured", meaning="measured tempo in BPM"),
    "key": Field(kind="key", source="measured", meaning="measured key"),
    "metre": Field(kind="metre", source="measured", meaning="measured metre"),
    "duration_s": Field(kind="number", source="file", meaning="length of the track in seconds"),
    "loudness_lufs": Field(kind="number", source="measured", meaning="integrated loudness in LUFS"),
    "instrument": Field(kind="concept", source="measured", meaning="instrument heard", kinds=("instrument",)),
    "voice": Field(kind="concept", source="measured", meaning="voice heard (yes, no or a kind)", kinds=("voice",)),
    "style": Field(kind="concept", source="measured", meaning="genre as it sounds", kinds=("genre",)),
    "mood": Field(kind="concept", source="measured", meaning="mood or use", kinds=("mood", "use")),
    "sound": Field(kind="concept", source="measured", meaning="everyday sound (rain, applause)", kinds=("sound",)),
    "title": Field(kind="text", source="tags", meaning="title tag"),
    "artist": Field(kind="text", source="tags", meaning="artist tag"),
    "album": Field(kind="text", source="tags", meaning="album tag"),
    "genre": Field(kind="text", source="tags", meaning="genre tag"),
    "comment": Field(kind="text", source="tags", meaning="comment tag"),
    "date": Field(kind="number", source="tags", meaning="year: the first four digits of the date tag"),
    "tag_tempo_bpm": Field(kind="number", source="tags", meaning="tempo tag in BPM"),
    "tag_key": Field(kind="key", source="tags", meaning="key tag"),
    "path": Field(kind="text", source="file", meaning="path of the file"),
}

# What the hits of an answer can be ordered by (``retrieval.sorting``).
SORTS = ("score", "tempo", "key", "duration", "loudness", "title", "artist", "album", "date", "path")

HEARD = 0.5  # a concept counts as heard in a filter from this confidence on


@dataclass(frozen=True, kw_only=True, slots=True)
class Filter:
    """One exact condition on a track, of a field of ``FIELDS``.

    It holds if the track's value is known and any of the alternatives matches; with ``negated`` it holds if not, so a
    track without a value passes a negated filter only.

    - number: the value lies between ``low`` and ``high`` (``low_open``/``high_open``: the bound itself is out).
      ``tempo_bpm=110`` means "rounds to 110": 109.5 <= value < 110.5.
    - key, metre: the value is one of ``values`` ("F major", "3/4"); for keys also one of ``values`` without mode ("F").
    - text: ``folded`` of the value equals one of ``values``, or with ``contains`` holds one of them.
    - concept: one of ``values`` (ids) or a narrower concept has confidence >= ``HEARD``.
    """

    field: str
    kind: FieldKind
    text: str
    negated: bool = False
    values: tuple[str, ...] = ()
    contains: bool = False
    low: float = float("-inf")
    high: float = float("inf")
    low_open: bool = False
    high_open: bool = False


def folded(text: str) -> str:
    """Text as filters compare it: case, accents and repeated white space do not count.

    >>> folded("  Sigur  RÓS ")
    'sigur ros'
    """
    plain = "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c))
    return " ".join(plain.split())
