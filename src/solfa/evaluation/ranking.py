"""Exact ranks of relevant items without ever holding the whole score matrix.

Conventions
-----------
Higher scores are better; ranks start at 1. Ties are pessimistic: an irrelevant item with an equal score stands ahead.
Blocks are scored in float32 for speed, and every comparison that rounding could decide is repeated pair by pair in
float64, so that ranks depend neither on the size of blocks nor on the order of the pool. Pools that do not match,
queries without an answer and lists that name an item twice raise InputError.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from solfa.core.errors import InputError
from solfa.evaluation.relevance import Floats, Ints, Ragged, Relevance

if TYPE_CHECKING:
    import torch

Block: TypeAlias = "NDArray[np.floating] | torch.Tensor"


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Scores:
    """Scores of all queries against all items, computed where they are asked for.

    Parameters
    ----------
    shape
        number of queries and of items
    block
        scores of a range of queries against a range of items [shape=(q, n)], an array or a torch tensor; off by at most
        ``tolerance`` from ``pairs``, which is what counts
    pairs
        exact scores of single pairs [shape=(P,)]; a pair's score never depends on the others asked for
    block_shape
        how many queries and items are best scored at once
    """

    shape: tuple[int, int]
    block: Callable[[slice, slice], Block]
    pairs: Callable[[Ints, Ints], Floats]
    tolerance: float = 0.0
    block_shape: tuple[int, int] = (1024, 4096)

    @classmethod
    def of(cls, matrix: NDArray[np.floating]) -> Scores:
        """Scores that are already at hand, as they are [shape=(Q, N)]."""
        return cls(
            shape=(matrix.shape[0], matrix.shape[1]),
            block=lambda queries, items: matrix[queries, items],
            pairs=lambda queries, items: matrix[queries, items].astype(np.float64),
            block_shape=(1024, 1 << 20),
        )

    def matrix(self) -> Floats:
        """All scores at once [shape=(Q, N)]."""
        return as_numpy(self.block(slice(0, self.shape[0]), slice(0, self.shape[1]))).astype(np.float64)

    def transposed(self) -> Scores:
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
    """Where the relevant items of every query stand in a pool of ``num_items``.

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
