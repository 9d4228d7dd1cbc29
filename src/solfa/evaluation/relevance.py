"""Which items answer which queries.

Conventions
-----------
Queries are rows 0..Q-1, items are columns 0..N-1 of one pool. An item that is not named for a query is irrelevant to
it. Gains are positive; binary relevance has gain 1. A query without a relevant item has no rank and raises; drop such
queries explicitly with `Relevance.answerable`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from solfa.core.errors import InputError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Vectors = NDArray[np.floating]  # float32 or float64


@dataclass(frozen=True, eq=False, slots=True)
class Ragged:
    """Entries, query after query: ``q`` owns ``offsets[q]:offsets[q + 1]``, offsets int64 [shape=(Q + 1,)]."""

    offsets: Ints

    @property
    def num_queries(self) -> int:
        """Number of queries."""
        return len(self.offsets) - 1

    @property
    def counts(self) -> Ints:
        """Number of entries of each query [shape=(Q,)]."""
        return np.diff(self.offsets)

    @property
    def queries(self) -> Ints:
        """The query that each entry belongs to [shape=(R,)]."""
        return np.repeat(np.arange(self.num_queries), self.counts)

    @property
    def places(self) -> Ints:
        """The place of each entry among its query's, from 1 [shape=(R,)]."""
        return np.arange(self.offsets[-1]) - self.offsets[self.queries] + 1


@dataclass(frozen=True, eq=False, slots=True)
class Relevance(Ragged):
    """The relevant items of every query in a pool of ``num_items``.

    ``items`` int64 [shape=(R,)] are columns 0..num_items-1, ascending within a query; ``gains`` float64 > 0 go with
    them.
    """

    items: Ints
    gains: Floats
    num_items: int

    @classmethod
    def of(
        cls, relevant: Sequence[Sequence[int]], num_items: int, gains: Sequence[Sequence[float]] | None = None
    ) -> Relevance:
        """Relevance from one list of item columns per query; gains, of the same shape, are 1 if None.

        Raises
        ------
        InputError
            If there is no query or no item, a column lies outside the pool, an item is named twice for one query,
            a gain is not positive and finite, or shapes differ.

        >>> Relevance.of([[2], [0, 1]], num_items=3).counts.tolist()
        [1, 2]
        """
        lengths = [len(r) for r in relevant]
        if gains is not None and [len(g) for g in gains] != lengths:
            raise InputError("gains must have one number for every relevant item of every query.")
        query = np.repeat(np.arange(len(lengths)), lengths)
        items = np.array([i for r in relevant for i in r], np.int64)
        flat = np.ones(len(items)) if gains is None else np.array([x for g in gains for x in g], np.float64)
        return cls._checked(query, items, flat, len(lengths), num_items)

    @classmethod
    def of_targets(cls, target: Sequence[int] | Ints, num_items: int) -> Relevance:
        """Relevance where query ``q`` has the one answer ``target[q]`` (a caption and its track).

        >>> Relevance.of_targets([0, 0, 1], num_items=2).transposed().counts.tolist()
        [2, 1]
        """
        items = np.asarray(target, np.int64)
        return cls._checked(np.arange(len(items)), items, np.ones(len(items)), len(items), num_items)

    @classmethod
    def _checked(cls, query: Ints, items: Ints, gains: Floats, num_queries: int, num_items: int) -> Relevance:
        if num_queries == 0 or num_items <= 0:
            raise InputError(f"the pool is empty: {num_queries} queries, {num_items} items. Nothing can be ranked.")
        if len(items) and not (items.min() >= 0 and items.max() < num_items):
            raise InputError(
                f"relevant item {int(items.min() if items.min() < 0 else items.max())} lies outside the pool of "
                f"{num_items} items. Are queries and items from the same data?"
            )
        if not (np.isfinite(gains).all() and (gains > 0).all()):
            raise InputError("gains must be positive and finite; leave irrelevant items out instead of giving gain 0.")
        order = np.lexsort((items, query))
        query, items, gains = query[order], items[order], gains[order]
        if len(items) > 1 and ((np.diff(query) == 0) & (np.diff(items) == 0)).any():
            raise InputError("an item is named twice as relevant for one query.")
        offsets = np.searchsorted(query, np.arange(num_queries + 1))
        return cls(offsets.astype(np.int64), items, gains, int(num_items))

    def transposed(self) -> Relevance:
        """The other direction: items ask, queries answer (text to audio becomes audio to text)."""
        return Relevance._checked(self.items, self.queries, self.gains, self.num_items, self.num_queries)

    def answerable(self) -> tuple[Relevance, Ints]:
        """This relevance without the queries that have no answer, and the rows that were kept."""
        kept = np.flatnonzero(self.counts)
        new = np.cumsum(self.counts > 0) - 1
        return Relevance._checked(new[self.queries], self.items, self.gains, len(kept), self.num_items), kept

    def require_answers(self) -> None:
        """Nothing, if every query has a relevant item.

        Raises
        ------
        InputError
            If a query has none.
        """
        empty = np.flatnonzero(self.counts == 0)
        if len(empty):
            raise InputError(
                f"{len(empty)} of {self.num_queries} queries have no relevant item in the pool (first: query "
                f"{int(empty[0])}), so they have no rank. Drop them with Relevance.answerable() or mend the pool."
            )

    def fingerprint(self) -> str:
        """A hash of who answers whom: equal only for the same pool in the same order."""
        digest = hashlib.sha256(f"{self.num_queries} {self.num_items}\n".encode())
        for array, kind in ((self.offsets, "<i8"), (self.items, "<i8"), (self.gains, "<f8")):
            digest.update(array.astype(kind).tobytes())
        return digest.hexdigest()[:32]
