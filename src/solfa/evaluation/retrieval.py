"""Retrieval metrics from ranks: R@K, P@K, mAP@K, nDCG@K, MRR, median and mean rank.

Conventions
-----------
Every metric is first a float64 array with one number per query; `evaluate` then averages (MedR takes the median) and
adds an interval. Numbers are fractions 0..1, ranks start at 1, ``MedR%`` is 0..100. Items that were not returned (rank
0) count as last in MedR and MeanR and as never found in all others.

R@K          1 if any relevant item is among the first K: what cross-modal papers print as recall ("best of the five")
recall@K     relevant items among the first K / relevant items (``trec_eval recall``)
P@K          relevant items among the first K / K
mAP@K        sum over k <= K of P@k where item k is relevant / min(K, relevant items)
AP_trec@K    the same divided by the number of relevant items (``trec_eval map_cut``, ``ranx map@K``)
nDCG@K       sum of gain / log2(rank + 1) over the first K / the best possible such sum (``trec_eval ndcg_cut``)
MRR, MRR@K   1 / rank of the first relevant item
MedR, MeanR  median, mean rank of the first relevant item
MedR%        100 x median of rank / pool size: 50 by chance. GD-Retriever's "MedR (%)" is `medr_percent_largest_seen`
"""

import re
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from solfa.core.errors import InputError, UnknownName
from solfa.evaluation.ranking import Bools, Floats, Ranks
from solfa.evaluation.significance import Interval, Statistic, interval

_RANKS = ("MedR", "MeanR", "MedR%")  # all other metrics are proportions
DEFAULT_METRICS = ("R@1", "R@5", "R@10", "R@20", "mAP@10", "MRR", "MedR", "MedR%")


def hit_at(ranks: Ranks, k: int) -> Floats:
    """R@K: 1 where a relevant item is among the first ``k`` [shape=(Q,)]."""
    first = ranks.first
    return ((first > 0) & (first <= k)).astype(np.float64)


def ndcg_at(ranks: Ranks, k: int) -> Floats:
    """Normalised discounted cumulative gain at ``k``, gains linear [shape=(Q,)]."""
    gained = _sum(np.where(_found(ranks, k), ranks.gains / np.log2(np.maximum(ranks.ranks, 1) + 1.0), 0.0), ranks)
    ideal_gains, place = ranks.gains[np.lexsort((-ranks.gains, ranks.queries))], ranks.places
    ideal = _sum(np.where(place <= k, ideal_gains / np.log2(place + 1.0), 0.0), ranks)
    return gained / ideal


def reciprocal_rank(ranks: Ranks, k: int | None = None) -> Floats:
    """1 / rank of the first relevant item, 0 if there is none among the first ``k`` [shape=(Q,)]."""
    first = ranks.first
    counts = (first > 0) if k is None else (first > 0) & (first <= k)
    return np.where(counts, 1.0 / np.maximum(first, 1), 0.0)


def first_rank(ranks: Ranks) -> Floats:
    """Rank of the first relevant item; the pool size if it was not returned [shape=(Q,)]."""
    return np.where(ranks.first == 0, ranks.num_items, ranks.first).astype(np.float64)


def medr_percent_largest_seen(ranks: Ranks) -> float:
    """MedR (%) as GD-Retriever's code has it: zero-based ranks over the largest of them. Not comparable across pools.

    Raises InputError if every answer is ranked first, where this reading divides by 0.
    """
    zero_based = first_rank(ranks) - 1
    if zero_based.max() == 0:
        raise InputError("every answer is ranked first: MedR over the largest rank seen is 0 / 0. Use MedR%.")
    return float(100.0 * np.median(zero_based / zero_based.max()))


_AT: dict[str, Callable[[Ranks, int], Floats]] = {
    "R": hit_at,
    "recall": lambda ranks, k: _sum(_found(ranks, k), ranks) / ranks.counts,
    "P": lambda ranks, k: _sum(_found(ranks, k), ranks) / k,
    "mAP": lambda ranks, k: _precision_sum(ranks, k) / np.minimum(ranks.counts, k),
    "AP_trec": lambda ranks, k: _precision_sum(ranks, k) / ranks.counts,
    "nDCG": ndcg_at,
    "MRR": reciprocal_rank,
}
_WHOLE: dict[str, tuple[Callable[[Ranks], Floats], Statistic]] = {
    "MRR": (reciprocal_rank, "mean"),
    "MedR": (first_rank, "median"),
    "MeanR": (first_rank, "mean"),
    "MedR%": (lambda ranks: 100.0 * first_rank(ranks) / ranks.num_items, "median"),
}


def per_query(ranks: Ranks, metric: str) -> tuple[Floats, Statistic]:
    """One number per query for a metric by name (``R@10``, ``nDCG@5``, ``MRR``), and how to sum them up.

    Raises UnknownName if no metric has this name; InputError if K is 0.
    """
    if metric in _WHOLE:
        function, statistic = _WHOLE[metric]
        return function(ranks), statistic
    match = re.fullmatch(r"(\w+)@(\d{1,9})", metric)
    if match is None or match[1] not in _AT:
        raise UnknownName("metric", metric, [*(f"{name}@K" for name in _AT), *_WHOLE])
    if int(match[2]) == 0:
        raise InputError(f"{metric}: K must be at least 1.")
    return _AT[match[1]](ranks, int(match[2])), "mean"


def evaluate(
    ranks: Ranks,
    metrics: Sequence[str] = DEFAULT_METRICS,
    *,
    groups: ArrayLike | None = None,
    num_resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Interval]:
    """Every metric by its name with its interval (`significance.interval`).

    ``groups`` int [shape=(Q,)] are queries to be drawn together (captions of one track).

    Raises UnknownName if no metric has one of these names.
    """
    result = {}
    for metric in metrics:
        values, statistic = per_query(ranks, metric)
        result[metric] = interval(
            values, statistic=statistic, groups=groups, proportion=metric not in _RANKS,
            num_resamples=num_resamples, seed=seed,
        )  # fmt: skip
    return result


def _found(ranks: Ranks, k: int) -> Bools:
    # Which relevant items are among the first k.
    return (ranks.ranks > 0) & (ranks.ranks <= k)


def _sum(values: ArrayLike, ranks: Ranks) -> Floats:
    # Every query owns at least one entry (Relevance.require_answers), so reduceat has no empty slice.
    return np.add.reduceat(np.asarray(values, np.float64), ranks.offsets[:-1])


def _precision_sum(ranks: Ranks, k: int) -> Floats:
    return _sum(np.where(_found(ranks, k), ranks.places / np.maximum(ranks.ranks, 1), 0.0), ranks)
