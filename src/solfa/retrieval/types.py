"""What a search is given besides the query, and what it gives back."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from solfa.core.errors import InputError, UnknownName
from solfa.core.filters import SORTS
from solfa.core.types import Curve, FileTags, FloatArray, Span
from solfa.query import Query
from solfa.retrieval.alignment import WordMatch

MOST_HITS = 10_000  # over all pages: each is described

RankBy = Literal["search", "vectors"]


@dataclass(frozen=True, eq=False, slots=True)
class Like:
    """An example sound: its unit vector (of ``encoders.windows.candidates``), what to call it, and the track it comes
    from (never its own answer). ``weight`` is that beside 1 for a text; below 0 what sounds like it is avoided."""

    vector_D: FloatArray
    label: str
    track_id: int | None = None
    weight: float = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Display:
    """How hits are thinned out and ordered at display time; nothing is deleted.

    ``k`` hits a page, pages counted from 1; ``per_artist`` 0: no limit. ``sort`` is a name of ``SORTS`` and orders the
    hits of a page, a leading ``-`` turns it round; what has no value comes last, ties keep their ranks.
    """

    k: int = 10
    per_artist: int = 0
    duplicates: bool = False
    page: int = 1
    sort: str = "score"

    def __post_init__(self) -> None:
        if self.k < 1 or self.per_artist < 0:
            raise InputError(f"k must be at least 1 and per_artist at least 0, got {self.k} and {self.per_artist}.")
        if self.page < 1 or self.k * self.page > MOST_HITS:
            raise InputError(
                f"page {self.page} of {self.k} hits; pages count from 1, at most {MOST_HITS} hits are ranked."
            )
        if self.sort.removeprefix("-") not in SORTS:
            raise UnknownName("sort order", self.sort, SORTS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """What one part of the query found in one track.

    ``satisfied`` is None where nothing could be measured; ``confidence`` (0..1) is that of the measurement, so
    ``satisfied=False`` with 0.9 means: surely not as asked. ``spans`` say where, if that makes sense; ``words`` which
    words of a text met which seconds, where the model was trained on tokens.
    """

    constraint: str
    asked: str
    measured: str
    confidence: float
    satisfied: bool | None
    spans: tuple[Span, ...] = ()
    words: tuple[WordMatch, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Hit:
    """One track that fits, the best place in it, and why.

    ``score`` is in 0..1 and orders the hits: about the share of what was asked that is expected to hold, on one scale
    for all queries. ``more`` counts what was collapsed into this hit (other copies of the recording, further tracks of
    the artist); ``copies`` are other files of the same decoded content. ``heat`` is how near the sound is to what was
    asked over the track, in standard scores of the collection.
    """

    track_id: int
    path: Path
    score: float
    start_s: float
    end_s: float
    duration_s: float
    tags: FileTags
    evidence: tuple[Evidence, ...]
    more: int = 0
    copies: tuple[Path, ...] = ()
    heat: Curve | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Results:
    """The answer to a query.

    ``parsed`` is how it was read, line by line; ``candidates`` how many tracks passed the filters; ``timing_ms`` the
    stages; ``note`` one line where nothing fits, or a page is beyond the last, else empty; ``before`` how many hits are
    on the pages before this one; ``space`` where sound was compared, empty where none was.
    """

    query: Query
    parsed: tuple[str, ...]
    hits: tuple[Hit, ...]
    candidates: int
    timing_ms: dict[str, float]
    note: str = ""
    before: int = 0
    space: str = ""
