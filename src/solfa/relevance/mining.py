"""From judgments to triplets: which tracks an anchor should be nearer to than which others."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from solfa.core.types import FloatArray
from solfa.relevance.head import Triplets
from solfa.retrieval.display import SAME_RECORDING

NEAREST = 50  # candidates of an anchor that are judged
SURE = 0.7  # confidence below which a judgment is a tie
NEAR = 0.1  # a negative is hard if its cosine is above the positive's less this
_MOST = 3  # negatives of a pair
_PARTS = 4  # one in so many artists is held out


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
