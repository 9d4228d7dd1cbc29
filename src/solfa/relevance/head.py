"""A light head: a linear map near identity on the vectors of a space, trained on triplets; encoders stay as they are.

Unit vectors a, p, n of an anchor, a track that fits it and one that does not; |a - p|^2 = 2 - 2 cos (Schroff et al.
2015, FaceNet, eq. 1). A distillation term keeps the similarities of other tracks what they were.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solfa.collection.feedback import HEADED, StoredHead
from solfa.core.types import Features, FloatArray, JointModel

ALPHA = 0.2  # margin
KEEPS = (10.0, 100.0)  # weights of the distillation: how much other similarities are kept
_STEPS, _RATE = 60, 0.02
Triplets = NDArray[np.int64]


def triplet_loss(vectors_ND: FloatArray, triplets_T3: Triplets, alpha: float = ALPHA) -> tuple[float, FloatArray]:
    """Mean of max(0, |a - p|^2 - |a - n|^2 + alpha) over rows (a, p, n) of indices, and its gradient [shape=(N, D)]."""
    a, p, n = (vectors_ND[triplets_T3[:, place]] for place in range(3))
    over = ((a - p) ** 2).sum(axis=1) - ((a - n) ** 2).sum(axis=1) + alpha
    share, gradient = (2 * (over > 0) / max(len(triplets_T3), 1))[:, None], np.zeros_like(vectors_ND)
    for place, part in enumerate((n - p, p - a, a - n)):
        np.add.at(gradient, triplets_T3[:, place], (share * part).astype(gradient.dtype))
    return float(np.maximum(over, 0).mean()), gradient


def distillation(vectors_SD: FloatArray, before_SD: FloatArray) -> tuple[float, FloatArray]:
    """Mean squared change of the cosines among S unit vectors, and its gradient [shape=(S, D)]."""
    change = vectors_SD @ vectors_SD.T - before_SD @ before_SD.T
    gradient: FloatArray = 4 * change @ vectors_SD / np.float32(change.size)
    return float((change**2).mean()), gradient


def objective(
    weights_DD: FloatArray, vectors_ND: FloatArray, triplets_T3: Triplets, sample_SD: FloatArray, keep: float
) -> tuple[float, FloatArray]:
    """What is minimised, and its gradient [shape=(D, D)]: triplets of mapped vectors, and change among a sample."""
    total, gradient = 0.0, np.zeros_like(weights_DD)
    for inputs, of_triplets in ((vectors_ND, True), (sample_SD, False)):
        mapped = inputs @ weights_DD.T
        norms = np.maximum(np.linalg.norm(mapped, axis=1, keepdims=True), 1e-9)
        unit = mapped / norms
        loss, of_unit = triplet_loss(unit, triplets_T3) if of_triplets else distillation(unit, inputs)
        weight = 1.0 if of_triplets else keep
        of_mapped = (of_unit - unit * (of_unit * unit).sum(axis=1, keepdims=True)) / norms
        total, gradient = total + weight * loss, gradient + weight * of_mapped.T @ inputs
    return total, gradient


def train(vectors_ND: FloatArray, triplets_T3: Triplets, sample_SD: FloatArray, keep: float = KEEPS[0]) -> FloatArray:
    """The weights [shape=(D, D)] after gradient descent with momentum from the identity; the same for the same input.

    No step is scaled entry by entry (as Adam's are): the map stays the identity but for what the triplets ask.
    """
    used, places = np.unique(triplets_T3, return_inverse=True)
    inputs, triplets = vectors_ND[used], places.reshape(triplets_T3.shape)
    weights = np.eye(vectors_ND.shape[1], dtype=np.float32)
    step = np.zeros_like(weights)
    for _ in range(_STEPS):
        step = 0.9 * step - np.float32(_RATE) * objective(weights, inputs, triplets, sample_SD, keep)[1]
        weights += step
    return weights


def stored(base: str, weights_DD: FloatArray | None, report: str) -> StoredHead:
    """What a collection keeps: with weights, the space of what they make is named after them; None: the space stays."""
    if weights_DD is None:
        return StoredHead(base=base, space=base, weights_DD=np.zeros((0, 0), np.float32), report=report)
    digest = hashlib.sha256(np.ascontiguousarray(weights_DD, np.float32).tobytes()).hexdigest()
    return StoredHead(base=base, space=f"{base}{HEADED}{digest[:12]}", weights_DD=weights_DD, report=report)


@dataclass(frozen=True, slots=True)
class _Tower:
    """A tower whose vectors go through a head."""

    tower: Any
    head: StoredHead

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.tower, name)
        return replace(value, space=self.head.space) if name == "spec" else value

    def encode(self, batch: Sequence[Any]) -> Features:
        made = self.tower.encode(batch)
        return Features(self.head.apply(made.global_BD), self.head.apply(made.frames_BTD), made.mask_BT)


def headed(model: JointModel, head: StoredHead | None) -> JointModel:
    """The model in the space of a head; itself where there is none for its space."""
    if head is None or head.base != model.space or head.space == head.base:
        return model
    match = model.match and replace(
        model.match, sounds_SD=head.apply(model.match.sounds_SD), texts_XD=head.apply(model.match.texts_XD)
    )
    return replace(model, audio=_Tower(model.audio, head), text=_Tower(model.text, head), match=match)
