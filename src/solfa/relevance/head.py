"""From judgments to triplets, and a light head that is trained on them: a linear map near identity on vectors.

Unit vectors a, p, n of an anchor, a track that fits it and one that does not; |a - p|^2 = 2 - 2 cos (Schroff et al.
2015, FaceNet, eq. 1). A distillation term keeps the similarities of other tracks what they were.
"""

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solfa.collection.feedback import HEADED, StoredHead
from solfa.core.types import Features, FloatArray, JointModel
from solfa.retrieval.display import SAME_RECORDING

ALPHA = 0.2  # margin
KEEPS = (10.0, 100.0)  # weights of the distillation: how much other similarities are kept
_STEPS, _RATE = 60, 0.02
NEAREST = 50  # candidates of an anchor that are judged
SURE = 0.7  # confidence below which a judgment is a tie
NEAR = 0.1  # a negative is hard if its cosine is above the positive's less this
_MOST = 3  # negatives of a pair
_PARTS = 4  # one in so many artists is held out

Triplets = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """Whether a track fits an anchor; both are rows of one matrix. ``confidence`` 0..1, a person's is 1."""

    anchor: int
    track: int
    is_good: bool
    confidence: float = 1.0


def mine(vectors_ND: FloatArray, artists: Sequence[str], judged: Sequence[Judged]) -> Triplets:
    """Triplets (anchor, positive, negative) of sure judgments [shape=(T, 3)], in the order given.

    At most 3 negatives of a pair, the nearest to the anchor first: hard ones, or where there are none, the others. Left
    out are tracks by the anchor's artist and other copies of its recording, and negatives that are copies of the
    positive or by its artist. ``artists`` names the artist of each row, or the query.
    """
    by_anchor: dict[int, list[Judged]] = {}
    for j in judged:
        other = artists[j.anchor] != artists[j.track]
        if j.confidence >= SURE and other and vectors_ND[j.anchor] @ vectors_ND[j.track] < SAME_RECORDING:
            by_anchor.setdefault(j.anchor, []).append(j)
    found = []
    for anchor, own in by_anchor.items():
        cosine = {j.track: float(vectors_ND[anchor] @ vectors_ND[j.track]) for j in own}
        bad = sorted((j.track for j in own if not j.is_good), key=lambda track: (-cosine[track], track))
        for j in (j for j in own if j.is_good):
            apart = [n for n in bad if artists[n] != artists[j.track]
                     and vectors_ND[n] @ vectors_ND[j.track] < SAME_RECORDING]  # fmt: skip
            hard = [n for n in apart if cosine[n] > cosine[j.track] - NEAR]
            found += [(anchor, j.track, n) for n in (hard or apart)[:_MOST]]
    return np.array(found, np.int64).reshape(-1, 3)


def hard_share(vectors_ND: FloatArray, judged: Sequence[Judged]) -> float:
    """Share of surely judged candidates that are bad and yet about as near as a good one of their anchor, 0..1."""
    sure = [(j, float(vectors_ND[j.anchor] @ vectors_ND[j.track])) for j in judged if j.confidence >= SURE]
    least: dict[int, float] = {}
    for j, near in sure:
        if j.is_good:
            least[j.anchor] = min(near, least.get(j.anchor, near))
    hard = [not j.is_good and near > least.get(j.anchor, np.inf) - NEAR for j, near in sure]
    return float(np.mean(hard)) if hard else 0.0


def part_of(artist: str) -> int:
    """The part of the collection that an artist is in, 0..3; the same everywhere."""
    return zlib.crc32(artist.encode("utf-8", "replace")) % _PARTS


def split(artists: Sequence[str], triplets_T3: Triplets, part: int = 0) -> tuple[Triplets, Triplets]:
    """Triplets to train on, and those of held-out anchors, whose artists (and queries) no training triplet has."""
    held = np.array([part_of(name) == part for name in artists])[triplets_T3]
    return triplets_T3[~held.any(axis=1)], triplets_T3[held[:, 0]]


def agreement(vectors_ND: FloatArray, triplets_T3: Triplets) -> float:
    """Share of triplets whose positive is nearer to the anchor than the negative, 0..1; NaN if there are none."""
    a, p, n = (vectors_ND[triplets_T3[:, place]] for place in range(3))
    return float(((a * p).sum(axis=1) > (a * n).sum(axis=1)).mean()) if len(triplets_T3) else float("nan")


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
    return float((change**2).mean()), np.asarray(4 * change @ vectors_SD / np.float32(change.size))


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
