"""Orders of tracks that go well together: a flow of energy through hits, and a path from one track to another."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from solfa.collection import Attributes, Collection
from solfa.collection.store import Ids
from solfa.core.errors import InputError
from solfa.core.filters import folded
from solfa.relevance.learn import track_vectors
from solfa.relevance.preference import fifths_apart, octaves_apart
from solfa.retrieval import Searcher

Flow = Literal["rise", "fall", "arc", "flat"]
_TEMPO, _KEY, _ENERGY, _SOUND = 6.0, 1 / 6, 1.0, 3.0  # cost of an octave (at most 1), a fifth, the range, a cosine
_CURVE = 6.0  # cost of being off the curve by its whole range
_REACH, _PASSES, _SWAPS = 40, 20, 50_000  # how far two tracks may change places, how often all are tried, swaps in all
_BETWEEN = 400  # tracks that a path may go through


def flow_order(collection: Collection, track_ids: Sequence[int], flow: Flow) -> tuple[list[int], int]:
    """The tracks so that loudness rises, falls, does both or stays even, and neighbours are near in tempo and key.

    No artist comes twice in a row where that can be avoided; the number says how often it cannot. Half and double
    tempo are near. The same for the same tracks, in whatever order they come.
    """
    ids = sorted(set(track_ids))
    table, artists = collection.attributes(), _artists(collection, ids)
    rows = table.rows(np.array(ids, np.int64))
    loud = np.nan_to_num(table.column("loudness_lufs")[rows], nan=-99.0)
    energy = np.argsort(np.argsort(loud, kind="stable"), kind="stable") / max(len(ids) - 1, 1)  # rank, 0..1
    place = np.linspace(0, 1, len(ids))
    wanted = {"rise": place, "fall": 1 - place, "arc": 1 - abs(2 * place - 1), "flat": 0 * place}[flow]
    curve = np.zeros((len(ids), len(ids))) if flow == "flat" else _CURVE * (energy[:, None] - wanted[None]) ** 2
    cost = transitions(table, rows) + _ENERGY * abs(energy[:, None] - energy[None]) * (3 if flow == "flat" else 1)
    names = np.unique(artists, return_inverse=True)[1]
    cost[names[:, None] == names[None]] += _CURVE
    order = np.empty(len(ids), np.intp)
    order[np.argsort(wanted, kind="stable")] = np.argsort(energy, kind="stable")

    def total(order: NDArray[np.intp], at: Sequence[int]) -> float:
        """The part of the cost that depends on these places."""
        steps = {i for place in at for i in (place - 1, place) if 0 <= i < len(order) - 1}
        return float(sum(cost[order[i], order[i + 1]] for i in steps) + sum(curve[order[i], i] for i in {*at}))

    for _ in range(min(_PASSES, 1 + _SWAPS // (_REACH * len(ids)))):
        changed = False
        for i in range(len(order)):
            for j in range(i + 1, min(i + _REACH, len(order))):
                swapped = order.copy()
                swapped[[i, j]] = order[[j, i]]
                if total(swapped, (i, j)) < total(order, (i, j)) - 1e-9:
                    order, changed = swapped, True
        if not changed:
            break
    apart = _apart(order.tolist(), artists, cost)
    return [ids[i] for i in apart], sum(artists[a] == artists[b] for a, b in pairwise(apart))


def path(collection: Collection, searcher: Searcher, first: int, last: int, steps: int) -> list[int]:
    """``first``, at most ``steps`` tracks between that lead to ``last``, and it: each nearer to it than the one before.

    The cheapest way by sound, tempo and key, costs squared so that no step is large, over the 400 tracks nearest to
    both; an artist twice in a row costs as much as the largest step.

    Raises InputError if both are one track, or one has no vectors.
    """
    if first == last:
        raise InputError("both ends of the path are the same track. Name two.")
    ids = np.intersect1d(collection.attributes().track_ids, searcher.store.track_ids)
    if not {first, last} <= {*ids.tolist()}:
        raise InputError("a track of the path has no vectors or no file any more. Index it again.")
    vectors = track_vectors(searcher, ids.tolist())
    ends = np.searchsorted(ids, [first, last])
    near = vectors @ vectors[ends].T
    progress = near[:, 1] - near[:, 0]
    inside = np.flatnonzero((progress > progress[ends[0]]) & (progress < progress[ends[1]]))
    inside = inside[np.lexsort((ids[inside], -near[inside].min(axis=1)))][:_BETWEEN]
    inside = inside[np.lexsort((ids[inside], progress[inside]))]
    nodes = np.concatenate([ends[:1], inside, ends[1:]])
    artists = np.unique(_artists(collection, ids[nodes].tolist()), return_inverse=True)[1]
    cost = transitions(table := collection.attributes(), table.rows(ids[nodes]))
    cost = (cost + _SOUND * (1 - vectors[nodes] @ vectors[nodes].T)) ** 2
    cost[artists[:, None] == artists[None]] += cost.max()
    cost[np.tril_indices(len(nodes))] = np.inf  # onwards only: no track twice
    best, came = cost[0].copy(), list[NDArray[np.intp]]()
    for _ in range(min(steps, len(inside))):
        ways = best[:, None] + cost
        came.append(ways.argmin(axis=0))
        best = ways.min(axis=0)
    found = [len(nodes) - 1]
    for before in reversed(came):
        found.append(int(before[found[-1]]))
    return [int(ids[nodes[at]]) for at in (0, *reversed(found))]


def transitions(table: Attributes, rows: Ids) -> NDArray[np.float64]:
    """Cost of one track after another by tempo and key, each 0..1; what was not measured is half [shape=(N, N)]."""
    tempo, key = table.column("tempo_bpm")[rows, 0].astype(float), table.column("key")[rows, 0]
    by_tempo = np.minimum(_TEMPO * octaves_apart(tempo[:, None], tempo[None]), 1.0)
    by_key = _KEY * fifths_apart(key[:, None], key[None]).astype(float)
    by_key[(key[:, None] < 0) | (key[None] < 0)] = 0.5
    return np.asarray(np.nan_to_num(by_tempo, nan=0.5) + by_key)


def _artists(collection: Collection, ids: Sequence[int]) -> list[str]:
    """Artist of each track; of untagged ones a name of their own."""
    return [folded(row.tags.artist) or f"\x00{row.id}" for row in collection.rows(ids)]


def _apart(order: list[int], artists: Sequence[str], cost: NDArray[np.float64]) -> list[int]:
    """The order with tracks moved where an artist comes twice in a row, each to the cheapest place where it does not.

    If an artist has at most half of the tracks (rounded up), such a place exists: it is between others in too few.
    """
    stuck = set[str]()
    while True:
        again = (i for i in range(1, len(order)) if artists[order[i]] == artists[order[i - 1]] not in stuck)
        at = next(again, None)
        if at is None:
            return order
        one, rest = order[at], order[:at] + order[at + 1 :]
        gaps = [(rest[to - 1 : to], rest[to : to + 1], to) for to in range(len(rest) + 1)]
        free = [(sum(cost[i, one] - cost[i, j] for i in a for j in b) + sum(cost[one, j] for j in b), to)
                for a, b, to in gaps if all(artists[i] != artists[one] for i in a + b)]  # fmt: skip
        if free:
            order = [*rest[: (to := min(free)[1])], one, *rest[to:]]
        else:
            stuck.add(artists[one])
