"""Exact ranks of relevant items without ever holding the whole score matrix.

Conventions
-----------
Higher scores are better; ranks start at 1. Ties are pessimistic: an irrelevant item with an equal score stands ahead.
Blocks are scored in float32 for speed, and every comparison that rounding could decide is repeated pair by pair in
float64, so that ranks depend neither on the size of blocks nor on the order of the pool. Pools that do not match,
queries without an answer and lists that name an item twice raise InputError.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from solfa.core.errors import InputError
from solfa.evaluation.relevance import Floats, Ints, Ragged, Relevance

if TYPE_CHECKING:
    import torch

Scored = NDArray[np.floating]
Block: TypeAlias = "Scored | torch.Tensor"


class Scores(Protocol):
    """Scores of all queries against all items, computed where they are asked for.

    ``shape`` is the number of queries and of items, ``block_shape`` how many of them are best scored at once.
    ``block`` may be off by at most ``tolerance`` from ``pairs``, which is what counts.
    """

    @property
    def shape(self) -> tuple[int, int]: ...

    @property
    def block_shape(self) -> tuple[int, int]: ...

    @property
    def tolerance(self) -> float: ...

    def block(self, queries: slice, items: slice) -> Block:
        """Scores of a range of queries against a range of items [shape=(q, n)], an array or a torch tensor."""
        ...

    def pairs(self, queries: Ints, items: Ints) -> Floats:
        """Exact scores of single pairs [shape=(P,)]; a pair's score never depends on the others asked for."""
        ...


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

    >>> m = MatrixScores(np.array([[0.1, 0.9, 0.5], [0.3, 0.3, 0.2]]))
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
    if isinstance(block, np.ndarray):
        low, high = (exact + np.array([[-tolerance], [tolerance]])).astype(block.dtype)[:, :, None]
        above = block > high
        rows, columns = np.nonzero((block >= low) & ~above)
        return np.count_nonzero(above, axis=1), rows, columns
    bounds = block.new_tensor((exact + np.array([[-tolerance], [tolerance]])).tolist())
    surely = block > bounds[1][:, None]
    near = ((block >= bounds[0][:, None]) & ~surely).nonzero().cpu().numpy()
    return surely.sum(dim=1).cpu().numpy(), near[:, 0], near[:, 1]


def as_numpy(block: Block) -> Scored:
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


def rank_lists(lists: list[list[int]] | list[Ints], relevance: Relevance) -> Ranks:
    """The rank of every relevant item in lists that a searcher returned: for every query item columns, best first.

    A relevant item that a list does not hold counts as not found at any depth.
    """
    if len(lists) != relevance.num_queries:
        raise InputError(
            f"{len(lists)} result lists for {relevance.num_queries} queries. One list per query is needed."
        )
    relevance.require_answers()
    ranks = np.zeros(len(relevance.items), np.int64)
    gains = np.empty(len(relevance.items))
    for q, returned in enumerate(lists):
        row = np.asarray(returned, np.int64)
        if len(row) and (row.min() < 0 or row.max() >= relevance.num_items or len(np.unique(row)) != len(row)):
            raise InputError(f"the result list of query {q} names an item twice or one outside the pool.")
        own = slice(relevance.offsets[q], relevance.offsets[q + 1])
        position = {int(item): i + 1 for i, item in enumerate(row)}
        found = np.array([position.get(int(i), 0) for i in relevance.items[own]])
        order = np.argsort(np.where(found == 0, np.iinfo(np.int64).max, found), kind="stable")
        ranks[own], gains[own] = found[order], relevance.gains[own][order]
    return Ranks(relevance.offsets, ranks, gains, relevance.num_items)


def top_k(scores: Scores, k: int, *, max_floats: int = 1 << 24) -> tuple[Ints, Floats]:
    """The best ``k`` items of every query, best first, equal scores by column; and their exact scores.

    Both are [shape=(Q, k)], int64 and float64. At most ``max_floats`` scores are held at once, but those of one query.

    Raises
    ------
    InputError
        If `k` is not in 1..N.
    """
    num_queries, num_items = scores.shape
    if not 1 <= k <= num_items:
        raise InputError(f"k must be between 1 and the pool size {num_items}, got {k}.")
    items, values = np.empty((num_queries, k), np.int64), np.empty((num_queries, k))
    step_n = scores.block_shape[1]
    step_q = max(1, min(scores.block_shape[0], max_floats // num_items))
    for q in range(0, num_queries, step_q):
        rows = slice(q, min(q + step_q, num_queries))
        block = np.concatenate(
            [as_numpy(scores.block(rows, slice(n, min(n + step_n, num_items)))) for n in range(0, num_items, step_n)],
            axis=1,
        )
        border = np.partition(block, num_items - k, axis=1)[:, num_items - k] - 2 * scores.tolerance
        row, column = np.nonzero(block >= border[:, None].astype(block.dtype))
        exact = scores.pairs(row + q, column)
        order = np.lexsort((column, -exact, row))
        row, column, exact = row[order], column[order], exact[order]
        keep = np.arange(len(row)) - np.searchsorted(row, row) < k
        items[rows], values[rows] = column[keep].reshape(-1, k), exact[keep].reshape(-1, k)
    return items, values


@dataclass(frozen=True, eq=False, slots=True)
class MatrixScores:
    """Scores that are already at hand, as they are [shape=(Q, N)]; see `Scores`."""

    block_shape: ClassVar = (1024, 1 << 20)
    matrix: Scored
    tolerance: float = 0.0

    @property
    def shape(self) -> tuple[int, int]:
        return self.matrix.shape[0], self.matrix.shape[1]

    def block(self, queries: slice, items: slice) -> Scored:
        return self.matrix[queries, items]

    def pairs(self, queries: Ints, items: Ints) -> Floats:
        return self.matrix[queries, items].astype(np.float64)
