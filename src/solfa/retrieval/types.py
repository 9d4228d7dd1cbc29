"""What a search gives back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from solfa.core.query import Query
from solfa.core.types import Curve, FileTags, Span
from solfa.retrieval.alignment import WordMatch


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """How one wish of the query fared in one track.

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
    for all queries. ``more`` counts what was
    collapsed into this hit (other copies of the recording, further tracks of the artist); ``copies`` are other files of
    the same decoded content. ``heat`` is how near
    the sound is to what was asked over the track, in standard scores of the collection.
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
    """The answer to a query: ``parsed`` is how it was read, line by line; ``candidates`` how many tracks passed
    the filters; ``timing_ms`` the stages; ``note`` is one line where nothing fits, else empty;
    ``before`` how many hits are on the pages before this one."""

    query: Query
    parsed: tuple[str, ...]
    hits: tuple[Hit, ...]
    candidates: int
    timing_ms: dict[str, float]
    note: str = ""
    before: int = 0
