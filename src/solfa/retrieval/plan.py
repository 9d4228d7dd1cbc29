"""A query over the parts of a collection, step by step: what each part says of its own tracks, and how that is merged.

A collection on one machine is one part, several shards are several. What is merged are sums of whole numbers and best
of lists, so that hits and scores do not depend on how the tracks are divided. ``Searcher.steps`` is a part's side.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solfa.core.filters import Filter
from solfa.core.types import FloatArray
from solfa.query import Query, explain
from solfa.retrieval.display import Fingerprint, collapse_hits, ordered
from solfa.retrieval.evidence import note_on
from solfa.retrieval.fusion import to_unit
from solfa.retrieval.targets import Targets
from solfa.retrieval.types import Display, Hit, RankBy, Results

CANDIDATES = 200  # tracks that are scored in detail
NEAREST = 800  # tracks that are compared by their vectors
SOUND = 0.5  # nats per standard score of the embedding
WORDS = 3.0  # nats for a title, artist or path that holds all rare words of the query
Ids = NDArray[np.int64]


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class PlannedQuery:
    """What every part is asked: texts are vectors already, so that parts on unlike processors agree.

    ``without`` are tracks that are examples, never their own answer; ``anything`` is False where only names can rank.
    """

    query: Query
    where: tuple[Filter, ...]
    without: tuple[int, ...]
    seeds: tuple[int, ...]  # examples to be like, for ``prefer``
    anything: bool
    targets: Targets | None
    display: Display
    by: RankBy

    @property
    def shortlist(self) -> int:
        """How many tracks are scored in detail."""
        return max(CANDIDATES, 4 * self.display.k * self.display.page)


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class SharedCounts:
    """What holds for all tracks together: ``Unbased.counted`` of every constraint [shape=(C, 2)],
    ``Collection.word_counts``, the nearest by vectors."""

    rates: Ids
    words: Ids
    near_ids: Ids
    cosines: FloatArray

    @classmethod
    def merged(cls, parts: Sequence["SharedCounts"]) -> "SharedCounts":
        """Of all parts."""
        ids, cosines = best([(p.near_ids, p.cosines) for p in parts], NEAREST)
        rates, words = (np.sum(own, axis=0) for own in ([p.rates for p in parts], [p.words for p in parts]))
        return cls(rates=rates, words=words, near_ids=ids, cosines=cosines)


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Shortlist:
    """The tracks with the most evidence, so far; how many passed the filters, and whether a name was found."""

    ids: Ids
    totals: FloatArray
    most: int
    tracks: int
    named: bool

    @classmethod
    def merged(cls, parts: Sequence["Shortlist"]) -> "Shortlist":
        """Of all parts."""
        ids, totals = best([(p.ids, p.totals) for p in parts], parts[0].most)
        return cls(ids=ids, totals=totals, most=parts[0].most, tracks=sum(p.tracks for p in parts),
                   named=any(p.named for p in parts))  # fmt: skip


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Ranked:
    """The shortlist as it was scored: evidence in nats, whether a name was found in it, least and most evidence that
    constraints and sound can give (None: no track), and milliseconds of the stages."""

    ids: Ids
    totals: FloatArray
    named: bool
    ends: tuple[float, float, bool] | None
    ms: Mapping[str, float]

    @classmethod
    def merged(cls, parts: Sequence["Ranked"]) -> "Ranked":
        """Of all parts; the slowest counts."""
        ids, totals = np.concatenate([p.ids for p in parts]), np.concatenate([p.totals for p in parts])
        order = np.lexsort((ids, -np.round(totals.astype(np.float64), 9)))
        ms = {name: max(p.ms.get(name, 0.0) for p in parts) for name in parts[0].ms}
        ends = next((p.ends for p in parts if p.ends is not None), None)
        return cls(ids=ids[order], totals=totals[order], named=any(p.named for p in parts), ends=ends, ms=ms)


# Tracks to describe, with their scores; and what is sent back of each: the hit, what its copies are known by, and what
# the page is ordered by.
Wanted = tuple[Ids, FloatArray]
Described = dict[int, tuple[Hit, Fingerprint | None, Any]]
Said = SharedCounts | Shortlist | Wanted
# What all parts answer after what was merged before.
Ask = Callable[[Sequence[Said]], Sequence[Any]]


@dataclass(slots=True)
class Clock:
    """Milliseconds of stages."""

    ms: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what is inside."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.ms[name] = self.ms.get(name, 0.0) + (time.perf_counter() - start) * 1000


def answer(
    asked: PlannedQuery, ask: Ask, clock: Clock, *, at_once: bool = False, space: str = "", said: Sequence[str] = ()
) -> Results:
    """The hits of all parts, best first; ties by track id.

    Hits are described as they are needed, a page ``at_once`` where asking takes time.
    """
    counts = SharedCounts.merged(ask([]))
    short = Shortlist.merged(ask([counts]))
    if not (asked.anything or short.named):  # nothing to rank by: any order would be made up
        short = replace(short, ids=short.ids[:0], totals=short.totals[:0], tracks=0)
    ranked = Ranked.merged(ask([counts, short]))
    for name, ms in ranked.ms.items():
        clock.ms[name] = clock.ms.get(name, 0.0) + ms
    display, more = asked.display, Described()
    low, high, names_alone = ranked.ends or (0.0, 1.0, False)
    totals = SOUND * ranked.totals if asked.by == "vectors" else ranked.totals
    scores = to_unit(totals, low, WORDS if names_alone and ranked.named else high)

    def described() -> Iterator[Hit]:
        size = display.k * display.page if at_once else 1
        for at in range(0, len(ranked.ids), size):
            wanted = ranked.ids[at : at + size], scores[at : at + size]
            for part in ask([counts, short, wanted]):
                more.update(part)
            yield from (more[track_id][0] for track_id in wanted[0].tolist())

    with clock.stage("evidence"):
        hits = collapse_hits(described(), lambda track_id: more[track_id][1], display.k * display.page,
                             per_artist=display.per_artist, duplicates=display.duplicates)  # fmt: skip
        before = min(display.k * (display.page - 1), len(hits))
        note = note_on(asked.query, hits, shut_out=bool(asked.where) and not short.tracks)
        if hits and before == len(hits):
            note = f"No page {display.page}: {before} hits, {-(-before // display.k)} pages."
        hits = ordered([(hit, more[hit.track_id][2]) for hit in hits[before:]], display.sort)
    return Results(query=asked.query, parsed=(*explain(asked.query), *said), hits=tuple(hits), candidates=short.tracks,
                   timing_ms=clock.ms, note=note, before=before, space=space)  # fmt: skip


def best(lists: Sequence[tuple[Ids, FloatArray]], count: int) -> tuple[Ids, FloatArray]:
    """The highest values of several lists, best first, ties by id."""
    ids, values = (np.concatenate(own) for own in zip(*lists, strict=True))
    if len(ids) > count:
        among = values >= np.partition(values, len(values) - count)[len(values) - count]
        ids, values = ids[among], values[among]
    order = np.lexsort((ids, -values))[:count]
    return ids[order], values[order]
