"""Which items answer which queries, scores, and exact ranks without ever holding the whole score matrix.

Conventions
-----------
Queries are rows 0..Q-1, items are columns 0..N-1 of one pool. An item that is not named for a query is irrelevant to
it. Gains are positive; binary relevance has gain 1. Higher scores are better; ranks start at 1. Ties are pessimistic:
an irrelevant item with an equal score ranks ahead. Blocks are scored in float32 for speed, and every comparison that
rounding could decide is repeated pair by pair in float64, so that ranks depend neither on the size of blocks nor on the
order of the pool. Pools that do not match, queries without an answer (drop them with `Relevance.answerable`) and lists
that name an item twice raise InputError.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from solfa.core.errors import InputError

if TYPE_CHECKING:
    import torch

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Vectors = NDArray[np.floating]  # float32 or float64
Block: TypeAlias = "NDArray[np.floating] | torch.Tensor"


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
    ) -> "Relevance":
        """Relevance from one list of item columns per query; gains, of the same shape, are 1 if None.

        Raises InputError if there is no query or no item, a column is outside the pool, an item is named twice for one
        query, a gain is not positive and finite, or shapes differ.

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
    def of_targets(cls, target: Sequence[int] | Ints, num_items: int) -> "Relevance":
        """Relevance where query ``q`` has the one answer ``target[q]`` (a caption and its track).

        >>> Relevance.of_targets([0, 0, 1], num_items=2).transposed().counts.tolist()
        [2, 1]
        """
        items = np.asarray(target, np.int64)
        return cls._checked(np.arange(len(items)), items, np.ones(len(items)), len(items), num_items)

    @classmethod
    def _checked(cls, query: Ints, items: Ints, gains: Floats, num_queries: int, num_items: int) -> "Relevance":
        if num_queries == 0 or num_items <= 0:
            raise InputError(f"the pool is empty: {num_queries} queries, {num_items} items. Nothing can be ranked.")
        if len(items) and not (items.min() >= 0 and items.max() < num_items):
            raise InputError(
                f"relevant item {int(items.min() if items.min() < 0 else items.max())} is outside the pool of "
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

    def transposed(self) -> "Relevance":
        """The other direction: items ask, queries answer (text to audio becomes audio to text)."""
        return Relevance._checked(self.items, self.queries, self.gains, self.num_items, self.num_queries)

    def answerable(self) -> "tuple[Relevance, Ints]":
        """This relevance without the queries that have no answer, and the rows that were kept."""
        kept = np.flatnonzero(self.counts)
        new = np.cumsum(self.counts > 0) - 1
        return Relevance._checked(new[self.queries], self.items, self.gains, len(kept), self.num_items), kept

    def require_answers(self) -> None:
        """Nothing, if every query has a relevant item.

        Raises InputError if a query has none.
        """
        empty = np.flatnonzero(self.counts == 0)
        if len(empty):
            raise InputError(
                f"{len(empty)} of {self.num_queries} queries have no relevant item in the pool (first: query "
                f"{int(empty[0])}), so they have no rank. Drop them with Relevance.answerable() or correct the pool."
            )

    def fingerprint(self) -> str:
        """A hash of who answers whom: equal only for the same pool in the same order."""
        digest = hashlib.sha256(f"{self.num_queries} {self.num_items}\n".encode())
        for array, kind in ((self.offsets, "<i8"), (self.items, "<i8"), (self.gains, "<f8")):
            digest.update(array.astype(kind).tobytes())
        return digest.hexdigest()[:32]


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Scores:
    """Scores of all queries against all items, computed where they are asked for.

    - ``shape``: number of queries and of items
    - ``block``: scores of a range of queries against a range of items [shape=(q, n)], an array or a torch tensor; off
      by at most ``tolerance`` from ``pairs``, which is what counts
    - ``pairs``: exact scores of single pairs [shape=(P,)]; a pair's score never depends on the others asked for
    - ``block_shape``: how many queries and items are best scored at once
    """

    shape: tuple[int, int]
    block: Callable[[slice, slice], Block]
    pairs: Callable[[Ints, Ints], Floats]
    tolerance: float = 0.0
    block_shape: tuple[int, int] = (1024, 4096)

    @classmethod
    def of(cls, matrix: NDArray[np.floating]) -> "Scores":
        """Given scores, as they are [shape=(Q, N)]."""
        return cls(
            shape=(matrix.shape[0], matrix.shape[1]),
            block=lambda queries, items: matrix[queries, items],
            pairs=lambda queries, items: matrix[queries, items].astype(np.float64),
            block_shape=(1024, 1 << 20),
        )

    def matrix(self) -> Floats:
        """All scores at once [shape=(Q, N)]."""
        return as_numpy(self.block(slice(0, self.shape[0]), slice(0, self.shape[1]))).astype(np.float64)

    def transposed(self) -> "Scores":
        """The same scores with rows and columns changed: audio asks, texts answer."""
        return replace(
            self,
            shape=self.shape[::-1],
            block=lambda queries, items: self.block(items, queries).T,
            pairs=lambda queries, items: self.pairs(items, queries),
            block_shape=self.block_shape[::-1],
        )


@dataclass(frozen=True, eq=False, slots=True)
class Ranks(Ragged):
    """Ranks of the relevant items of every query in a pool of ``num_items``.

    ``ranks`` int64 [shape=(R,)] are 1..num_items, ascending within a query; 0 at the end of a query for items that a
    system did not return at all. ``gains`` float64 [shape=(R,)] are in the order of ``ranks``.
    """

    ranks: Ints
    gains: Floats
    num_items: int

    @property
    def first(self) -> Ints:
        """Rank of the best-placed relevant item of each query [shape=(Q,)]; 0 if none was returned."""
        return self.ranks[self.offsets[:-1]]


def rank_relevant(scores: Scores, relevance: Relevance) -> Ranks:
    """The rank of every relevant item, ties pessimistic; scores and answers are for the same queries and items.

    >>> m = Scores.of(np.array([[0.1, 0.9, 0.5], [0.3, 0.3, 0.2]]))
    >>> rank_relevant(m, Relevance.of_targets([2, 0], num_items=3)).ranks.tolist()
    [2, 2]
    """
    if scores.shape != (relevance.num_queries, relevance.num_items):
        raise InputError(
            f"the pool does not match: scores are for {scores.shape[0]} queries x {scores.shape[1]} items, relevance "
            f"for {relevance.num_queries} x {relevance.num_items}. Build both from the same data."
        )
    relevance.require_answers()
    owners = relevance.queries
    exact = scores.pairs(owners, relevance.items)
    if not np.isfinite(exact).all():
        raise InputError("a score is not finite. Check the vectors for dead rows (see `solfa doctor`).")
    at_least = np.zeros(len(exact), np.int64)  # items of the pool that score at least as high, the item included
    step_q, step_n = scores.block_shape
    for q in range(0, relevance.num_queries, step_q):
        rows = slice(q, min(q + step_q, relevance.num_queries))
        for n in range(0, relevance.num_items, step_n):
            columns = slice(n, min(n + step_n, relevance.num_items))
            _count_block(scores, relevance, rows, columns, exact, at_least)
    return _ranks_from_counts(relevance, owners, exact, at_least)


def _count_block(
    scores: Scores, relevance: Relevance, rows: slice, columns: slice, exact: Floats, at_least: Ints
) -> None:
    block = scores.block(rows, columns)
    counts = relevance.counts[rows]
    starts = relevance.offsets[:-1][rows]
    for layer in range(int(counts.max())):  # the layer-th relevant item of every query that has so many
        has = np.flatnonzero(counts > layer)
        entries = starts[has] + layer
        part = block if len(has) == len(block) else block[has]
        sure, near_row, near_column = _compare(part, exact[entries], scores.tolerance)
        at_least[entries] += sure
        near = scores.pairs(has[near_row] + rows.start, near_column + columns.start)
        tied = near >= exact[entries[near_row]]
        at_least[entries] += np.bincount(near_row[tied], minlength=len(entries))


def _compare(block: Block, exact: Floats, tolerance: float) -> tuple[Ints, Ints, Ints]:
    # How many scores of each row are surely above the row's exact score, and where it is too close to say.
    bounds = exact + np.array([[-tolerance], [tolerance]])
    low, high = bounds.astype(block.dtype) if isinstance(block, np.ndarray) else block.new_tensor(bounds.tolist())
    above = block > high[:, None]
    near = (block >= low[:, None]) & ~above
    rows, columns = np.nonzero(as_numpy(near))
    return as_numpy(above.sum(axis=1)), rows, columns


def as_numpy(block: Block) -> NDArray[Any]:
    """The block as an array on the host."""
    return block if isinstance(block, np.ndarray) else np.asarray(block.cpu().numpy())


def _ranks_from_counts(relevance: Relevance, owners: Ints, exact: Floats, at_least: Ints) -> Ranks:
    # Within a query: best first, of equal scores the smaller gain first (pessimistic for nDCG).
    order = np.lexsort((relevance.gains, -exact, owners))
    exact, at_least = exact[order], at_least[order]
    place = relevance.places
    # Relevant items of the same query that score at least as high: the last place of the run of equal scores.
    last_of_run = np.append((np.diff(owners) != 0) | (np.diff(exact) != 0), True)
    run_end = np.flatnonzero(last_of_run)
    relevant_at_least = place[run_end[np.searchsorted(run_end, np.arange(len(order)))]]
    ranks = at_least - relevant_at_least + place
    return Ranks(relevance.offsets, ranks, relevance.gains[order], relevance.num_items)


def rank_lists(lists: Sequence[Sequence[int] | Ints], relevance: Relevance) -> Ranks:
    """The rank of every relevant item in lists that a searcher returned: for every query item columns, best first.

    A relevant item that a list does not hold counts as not found at any depth.
    """
    if len(lists) != relevance.num_queries:
        raise InputError(
            f"{len(lists)} result lists for {relevance.num_queries} queries. One list per query is needed."
        )
    relevance.require_answers()
    ranks, gains = np.zeros(len(relevance.items), np.int64), np.empty(len(relevance.items))
    for q, returned in enumerate(lists):
        check_list(returned, relevance.num_items, q)
        own = slice(relevance.offsets[q], relevance.offsets[q + 1])
        position = {int(item): rank for rank, item in enumerate(returned, start=1)}
        found = np.array([position.get(item, 0) for item in relevance.items[own].tolist()])
        order = np.argsort(np.where(found == 0, np.iinfo(np.int64).max, found), kind="stable")
        ranks[own], gains[own] = found[order], relevance.gains[own][order]
    return Ranks(relevance.offsets, ranks, gains, relevance.num_items)


def check_list(returned: Sequence[int] | Ints, num_items: int, query: int) -> None:
    """Raise InputError if the result list of a query names an item twice or one outside the pool."""
    if len(set(returned)) < len(returned) or any(not 0 <= item < num_items for item in returned):
        raise InputError(f"the result list of query {query} names an item twice or one outside the pool.")
