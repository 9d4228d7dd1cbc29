"""One number from unlike pieces of evidence: sums of clipped log-likelihood ratios.

Each piece says how much more probable "this is the track that was meant" is than for a track taken at random: the
logarithm of P(satisfied | measured) over its base rate. Nothing measured is 0, a sure hit on a rare constraint is
large, a sure miss is as strongly negative. Clipping keeps one wild measurement from overruling all others.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from solfa.constraints import Constraint, Likelihood
from solfa.core.types import FloatArray

# A measurement is never trusted beyond these odds (floor of P, ceiling of one piece of evidence).
_FLOOR = 0.05
_MOST = 3.0
SLOPE, OFFSET = 6.0, -4.8  # of the logistic curve between (benchmarks/scores.py)


def log_ratio(p: NDArray[np.floating], base: float) -> FloatArray:
    """Evidence of probabilities against their base rate, in nats, within +-3 [same shape].

    >>> [f"{x:.2f}" for x in log_ratio(np.array([0.2, 1.0, 0.0]), 0.2)]
    ['0.00', '1.44', '-1.61']
    """
    ratio = np.log((p + _FLOOR) / (base + _FLOOR))
    clipped: FloatArray = np.clip(ratio, -_MOST, _MOST).astype(np.float32)
    return clipped


def to_unit(total: NDArray[np.floating], least: float, most: float) -> FloatArray:
    """Total evidence as a score in 0..1: about the share of what was asked that is expected to hold [same shape].

    ``least`` and ``most`` are what the evidence would be if surely nothing and surely everything held, so that scores
    of different queries are on one scale.

    >>> [f"{x:.2f}" for x in to_unit(np.array([-3.0, 0.0, 3.0]), -3.0, 3.0)]
    ['0.01', '0.14', '0.77']
    """
    place = (np.asarray(total, np.float64) - least) / max(most - least, 1e-6)
    unit: FloatArray = (1.0 / (1.0 + np.exp(-(SLOPE * np.clip(place, 0, 1) + OFFSET)))).astype(np.float32)
    return unit


def summed(constraints: Sequence[Constraint], likelihoods: Sequence[Likelihood | None], count: int) -> FloatArray:
    """Evidence of all constraints, in nats; of alternatives ("piano or guitar") the best counts [shape=(count,)]."""
    total = np.zeros(count, np.float32)
    groups: dict[int, FloatArray] = {}
    for constraint, likelihood in zip(constraints, likelihoods, strict=True):
        if likelihood is None:
            continue
        evidence = np.float32(constraint.weight) * log_ratio(likelihood.p, likelihood.base)
        if constraint.any_of:
            groups[constraint.any_of] = np.maximum(groups.get(constraint.any_of, evidence), evidence)
        else:
            total += evidence
    for evidence in groups.values():
        total += evidence
    return total


def extremes(constraints: Sequence[Constraint], likelihoods: Sequence[Likelihood | None]) -> tuple[float, float]:
    """What ``summed`` would be if surely none of the constraints held, and if surely all of them did."""
    least, most = (
        float(summed(constraints, [known and Likelihood(np.full(1, p, np.float32), known.base)
                                   for known in likelihoods], 1)[0])
        for p in (0.0, 1.0)
    )  # fmt: skip
    return least, most
