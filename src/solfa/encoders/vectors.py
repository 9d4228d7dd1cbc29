"""Rows of numbers of any length as the arrays that encoders and backbones give."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from solfa.core.errors import InputError, WeightsError
from solfa.core.types import Audio, Features, FloatArray, HalfArray, States


def pack_states(rows: Sequence[FloatArray], dim: int, pooled: Sequence[FloatArray] | None = None) -> States:
    """Rows of each item (each [shape=(T, D)], any T, 0 too) as ``States``; the mean of the rows where nothing pools."""
    longest = max((len(row) for row in rows), default=0)
    states = np.zeros((len(rows), longest, dim), np.float32)
    mask = np.zeros((len(rows), longest), np.bool_)
    means = np.zeros((len(rows), dim), np.float32)
    for i, row in enumerate(rows):
        states[i, : len(row)], mask[i, : len(row)] = row, True
        if pooled is not None:
            means[i] = pooled[i]
        elif len(row):
            means[i] = row.mean(axis=0, dtype=np.float64)
    return States(pooled_BD=means, states_BTD=states, mask_BT=mask)


def pack(rows: Sequence[FloatArray], dim: int, weights: Sequence[Sequence[float]] | None = None) -> Features:
    """Frames (each [shape=(T, D)], any T) as ``Features``; the global vector is their (weighted) mean direction.

    Raises WeightsError if a frame has no direction (zeros, NaN).
    """
    units = [unit(row) for row in rows]
    shares = [None] * len(units) if weights is None else weights
    means = [np.average(unit, axis=0, weights=share)[None] for unit, share in zip(units, shares, strict=True)]
    return features(units, dim, [unit(mean)[0] for mean in means])


def features(rows: Sequence[FloatArray], dim: int, pooled: Sequence[FloatArray]) -> Features:
    """Frames and a global vector of each item, as they are."""
    packed: Any = pack_states(rows, dim, pooled)
    return Features(packed.pooled_BD, packed.states_BTD, packed.mask_BT)


def refuse_not_finite(batch: Sequence[Audio]) -> None:
    """See that all samples are finite numbers, or the weights would be blamed. Raises InputError if they are not."""
    bad = [i for i, audio in enumerate(batch) if not np.isfinite(audio.samples).all()]
    if bad:
        raise InputError(f"sound {bad[0]} of {len(batch)} has samples that are not finite numbers. Leave it out.")


def unit(rows: FloatArray | HalfArray) -> FloatArray:
    """Unit vectors of rows. Raises WeightsError if one has no direction (zeros, NaN)."""
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    if not (np.isfinite(lengths).all() and (lengths > 1e-9).all()):
        raise WeightsError(
            f"a network gave a vector of length {float(lengths.min())}, expected a direction: dead weights."
        )
    return np.asarray(rows / lengths, np.float32)
