"""Fit how much evidence of attributes and of vectors weighs in a search, and say what the weights set by hand lose.

    python tools/fit_fusion.py --data DIR --collection DIR [--model NAME] [--columns description] [--seed 0]

DIR holds index.csv (columns file, description, ...) and the files, each column's text a query for its own track. The
weights maximise the probability of the own track among all (a conditional logit over tracks: McFadden 1974) of
``a * attributes + s * vectors``, both in nats as search has them (``Searcher.evidence``). Five folds over tracks:
each query is scored by weights that were fitted without its track. Prints weights with their spread over folds, log
loss, R@10 and MRR of both, and the difference with a paired 95 % bootstrap interval.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from solfa.api import index, open_searcher
from solfa.collection import Collection
from solfa.query import parse

Floats = NDArray[np.float64]


def log_p(weights: Floats, parts_QNW: Floats, own_Q: NDArray[np.intp]) -> Floats:
    """Log-probability of the own track of each query."""
    total = parts_QNW @ weights
    return total[np.arange(len(own_Q)), own_Q] - np.logaddexp.reduce(total, axis=1)


def fitted(parts_QNW: Floats, own_Q: NDArray[np.intp]) -> Floats:
    """The weights, none below 0; a ridge that is worth one query keeps them near those by hand."""

    def loss(weights: Floats) -> float:
        return float(-log_p(weights, parts_QNW, own_Q).sum() + ((weights - 1) ** 2).sum())

    start = np.ones(parts_QNW.shape[2])
    found: Floats = minimize(loss, start, method="L-BFGS-B", bounds=[(0, None)] * len(start)).x
    return found


def reciprocal_ranks(total_QN: Floats, own_Q: NDArray[np.intp]) -> Floats:
    """One over the rank of the own track; half of those that are level stand before it."""
    own = total_QN[np.arange(len(own_Q)), own_Q][:, None]
    return 1 / (0.5 + (total_QN > own).sum(axis=1) + (total_QN == own).sum(axis=1) / 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--collection", type=Path, required=True)
    parser.add_argument("--model", default="bridge")
    parser.add_argument("--columns", default="description")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with (args.data / "index.csv").open(encoding="utf-8") as file:
        listed = list(csv.DictReader(file))
    parts, own = list[Floats](), list[int]()
    with Collection.open(args.collection, create=True) as collection:
        index(collection, [args.data], model=args.model)
        searcher = open_searcher(collection, args.model)
        at = {path.name: i for i, t in enumerate(collection.tracks()) for path in t.paths}
        place = {t.id: i for i, t in enumerate(collection.tracks())}
        for row in listed:
            for text in (row[c].strip() for c in args.columns.split(",") if row[c].strip()):
                query = replace(parse(text), words="")
                if query.constraints or query.phrases or query.negated_phrases:
                    ids, attributes, sound = searcher.evidence(query)
                    both = np.zeros((len(place), 2))
                    both[[place[i] for i in ids.tolist()]] = np.stack([attributes, sound], axis=1)
                    parts.append(both)
                    own.append(at[row["file"]])
    parts_QNW, own_Q = np.stack(parts), np.array(own)
    fold_Q = np.random.default_rng(args.seed).permutation(len(place))[own_Q] % 5
    weights = np.stack([fitted(parts_QNW[fold_Q != f], own_Q[fold_Q != f]) for f in range(5)])
    by_hand, by_fit = parts_QNW.sum(axis=2), np.einsum("qnw,qw->qn", parts_QNW, weights[fold_Q])
    loss = [-log_p(np.ones(1), total[..., None], own_Q).mean() for total in (by_hand, by_fit)]
    ranks = [reciprocal_ranks(total, own_Q) for total in (by_hand, by_fit)]
    whole, spread = fitted(parts_QNW, own_Q), weights.std(axis=0)
    print(f"{len(own_Q)} queries, {len(place)} tracks, {args.model}; chance has a log loss of {np.log(len(place)):.2f}")
    print(f"weights: attributes {whole[0]:.2f} ± {spread[0]:.2f}, vectors {whole[1]:.2f} ± {spread[1]:.2f} (by hand 1)")
    for name, value, each in zip(("by hand", "fitted"), loss, ranks, strict=True):
        print(f"{name}: log loss {value:.3f}, R@10 {(each >= 0.1).mean():.3f}, MRR {each.mean():.3f}")
    drawn = np.random.default_rng(args.seed).integers(0, len(own_Q), (5000, len(own_Q)))
    difference = (ranks[1] - ranks[0])[drawn].mean(axis=1)
    low, high = np.quantile(difference, [0.025, 0.975])
    print(f"difference in MRR {(ranks[1] - ranks[0]).mean():+.3f} [{low:+.3f}, {high:+.3f}]")


if __name__ == "__main__":
    main()
