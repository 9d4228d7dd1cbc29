"""Which network outputs speak for which concept of the vocabulary, and how strongly they do so in a frame.

The table is ``concepts.toml`` beside this file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from solfa.core.files import table_of
from solfa.core.types import FloatArray
from solfa.tagging.frames import labels

_LEAST = 1e-5  # scores are clipped to this and one minus this before the logit


@dataclass(frozen=True, kw_only=True, slots=True)
class Voter:
    """Outputs of one net that mean the same; the strongest of them counts, times ``weight``."""

    net: str
    labels: tuple[str, ...]
    weight: float

    @property
    def columns(self) -> tuple[int, ...]:
        """Where the outputs lie in the net's scores."""
        return tuple(labels()[self.net].index(name) for name in self.labels)


@cache
def voters() -> dict[str, tuple[Voter, ...]]:
    """By concept id, in the order of the table; a concept that no net hears is not in it."""
    table = table_of("solfa.tagging", "concepts.toml")
    return {concept: tuple(map(_voter, rows)) for kind in table.values() for concept, rows in kind.items()}


def measurable(concept: str) -> bool:
    """Whether some network output speaks for the concept itself (not only for what it is a case of).

    >>> measurable("piano"), measurable("rhodes")
    (True, False)
    """
    return concept in voters()


def evidence(concept: str, probs: Mapping[str, FloatArray]) -> FloatArray:
    """Weighted mean of the voters' logits, one value a row.

    Parameters
    ----------
    concept : str
        a measurable concept
    probs : mapping of net to float32 [shape=(T, L)]
        scores of the nets on one grid
    """
    total, weight = np.zeros(len(next(iter(probs.values()))), np.float32), 0.0
    for voter in voters()[concept]:
        total += np.float32(voter.weight) * logit(probs[voter.net][:, voter.columns].max(axis=1))
        weight += abs(voter.weight)
    mean: FloatArray = total / np.float32(weight)
    return mean


def logit(probs: FloatArray) -> FloatArray:
    """Log-odds of scores in 0..1, finite at both ends."""
    p = np.clip(probs, _LEAST, 1 - _LEAST)
    odds: FloatArray = np.log(p / (1 - p)).astype(np.float32)
    return odds


def _voter(row: str) -> Voter:
    head, _, names = row.partition(":")
    weight, net = head.split() if " " in head else ("1", head)
    return Voter(net=net, labels=tuple(name.strip() for name in names.split(" | ")), weight=float(weight))
