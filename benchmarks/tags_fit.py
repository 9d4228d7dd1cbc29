"""Curves from evidence to confidence, fitted with partial pooling (``benchmarks/tags.py --fit``).

Within a kind, the log-odds of a concept are ``a + b * evidence + c * (evidence - usual) + shift``: ``usual`` is the
mean evidence for that concept over varied music, so that ``c`` says how far a network's output counts by how unusual it
is, and the shift of a concept is drawn to zero, so that few labels move it little.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

Array = NDArray[np.float64]
# Standard deviation of a concept's shift before anything is seen, and the most that it may be.
_SPREAD, _MOST = 0.7, 1.5
# Shift of a concept of which nothing is known: people name what is common.
_UNSEEN = -1.0


@dataclass(frozen=True, eq=False)
class Clips:
    """Pooled evidence [shape=(N, C)], what is true of each clip (1, 0, or NaN: not known), and what a clip weighs."""

    evidence: Array
    truth: Array
    weight: float = 1.0

    def part(self, keep: NDArray[np.bool_]) -> Clips:
        """Some of the clips."""
        return Clips(self.evidence[keep], self.truth[keep], self.weight)


@dataclass(frozen=True, eq=False)
class Pooled:
    """Offset [shape=(C,)] and one slope of a kind."""

    offset: Array
    slope: float

    def log_odds(self, evidence: Array) -> Array:
        """[shape of evidence=(N, C)]"""
        found: Array = self.offset + self.slope * evidence
        return found


def pooled(sets: list[Clips], usual: Array) -> Pooled:
    """The curves of a kind; columns of the sets are its concepts."""
    x = np.concatenate([s.evidence for s in sets])
    y = np.concatenate([s.truth for s in sets])
    weight = np.concatenate([np.full(s.truth.shape, s.weight) for s in sets]) * ~np.isnan(y)
    sign = np.where(y == 1, 1.0, -1.0)
    off = x - usual

    def loss(p: Array) -> tuple[float, Array]:
        z = sign * (p[0] + p[1] * x + p[2] * off + p[3:])
        pull = -weight * sign * expit(-z)
        gradient = np.concatenate(
            [[pull.sum(), (pull * x).sum(), (pull * off).sum()], pull.sum(axis=0) + p[3:] / _SPREAD**2]
        )
        return float((weight * np.logaddexp(0, -z)).sum() + 0.5 * (p[3:] ** 2).sum() / _SPREAD**2), gradient

    bounds = [(None, None), (0, None), (0, None), *map(_bounds, y.T)]
    start = np.concatenate([[0.0, 0.5, 0.5], [b[0] if b[0] == b[1] else 0.0 for b in bounds[3:]]])
    p = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return Pooled(p[0] + p[3:] - p[2] * usual, float(p[1] + p[2]))


def _bounds(truth: Array) -> tuple[float, float]:
    """Of a concept's shift. That hardly anyone named it says more of the labels than of the sound: no shift then."""
    if np.isnan(truth).all():
        return _UNSEEN, _UNSEEN
    return (-_MOST, _MOST) if (truth == 1).sum() >= 2 else (0.0, 0.0)


def own(sets: list[Clips], column: int) -> tuple[float, float]:
    """Offset and slope of one concept on its own."""
    x = np.concatenate([s.evidence[:, column] for s in sets])
    y = np.concatenate([s.truth[:, column] for s in sets])
    weight = np.concatenate([np.full(len(s.truth), s.weight) for s in sets]) * ~np.isnan(y)
    sign = np.where(y == 1, 1.0, -1.0)

    def loss(p: Array) -> float:
        return float((weight * np.logaddexp(0, -sign * (p[0] + p[1] * x))).sum() + 0.01 * p[1] ** 2)

    offset, slope = minimize(loss, np.array([0.0, 0.5]), bounds=[(None, None), (0.01, None)]).x
    return float(offset), float(slope)


def cross_validated(sets: list[Clips], usual: Array, music: Array, folds: int = 5) -> tuple[Array, Array]:
    """Confidence and truth of all known cells of the first set, each from curves fitted without its fold.

    ``music`` is the probability that a clip of that set is music at all [shape=(N,)], which confidences are times.
    """
    first, rest = sets[0], sets[1:]
    fold = np.arange(len(first.truth)) % folds
    confidence = np.zeros_like(first.truth)
    for i in range(folds):
        curves = pooled([first.part(fold != i), *rest], usual)
        confidence[fold == i] = expit(curves.log_odds(first.evidence[fold == i])) * music[fold == i, None]
    known = ~np.isnan(first.truth)
    return confidence[known], first.truth[known] == 1
