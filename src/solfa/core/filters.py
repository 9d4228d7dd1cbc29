"""Exact conditions on a track (``--where``), the fields that they ask about, and how hits can be ordered."""

import unicodedata
from dataclasses import dataclass
from typing import Literal

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
    "instrument": Field(kind="concept", source="measured", meaning="instrument present", kinds=("instrument",)),
    "voice": Field(kind="concept", source="measured", meaning="voice present (yes, no or a kind)", kinds=("voice",)),
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

# What the hits of an answer can be ordered by (``retrieval.display``).
SORTS = ("score", "tempo", "key", "duration", "loudness", "title", "artist", "album", "date", "path")

PRESENT = 0.5  # a concept counts as present from this confidence on


@dataclass(frozen=True, kw_only=True, slots=True)
class Filter:
    """One exact condition on a track, of a field of ``FIELDS``.

    It holds if the track's value is known and any of the alternatives matches; with ``negated`` it holds if not, so a
    track without a value passes a negated filter only.

    - number: the value is between ``low`` and ``high`` (``low_open``/``high_open``: the bound itself is out).
      ``tempo_bpm=110`` means "rounds to 110": 109.5 <= value < 110.5.
    - key, metre: the value is one of ``values`` ("F major", "3/4"); for keys also one of ``values`` without mode ("F").
    - text: ``folded`` of the value equals one of ``values``, or with ``contains`` holds one of them.
    - concept: one of ``values`` (ids) or a narrower concept has confidence >= ``PRESENT``.
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
