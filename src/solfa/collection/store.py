"""Where vectors and frames live, behind a small protocol.

Vectors are unit vectors as int8 with one global scale (``models.scoring.quantise``), queries too: a score is an
integer dot product over 127 squared. Integers leave no room for rounding, so every store that is exact gives the same
scores to the last bit (the oracle of all is ``tests/unit/collection/numpy_store.py``).

Shape letters: Q queries, K results, S segments, T frames, D dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from solfa.core.errors import InputError
from solfa.core.types import FloatArray
from solfa.models.scoring import INT8_SCALE

Int8Array = NDArray[np.int8]
Ids = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Space:
    """An embedding space: vectors of different spaces are never compared."""

    name: str
    dim: int
    hop_s: float


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class TrackVectors:
    """What a store keeps of one track: segment vectors and frames, int8."""

    track_id: int
    segments_SD: Int8Array
    frames_TD: Int8Array


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the rows of a track lie; ``crc`` is the CRC-32 of its segments followed by its frames."""

    track_id: int
    segment_at: int
    segments: int
    frame_at: int
    frames: int
    crc: int


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class Nearest:
    """The best tracks for each query, best first, ties by id; short answers end in track id -1, score -inf.

    A track scores as its best segment does; ``segments_QK`` says which that is.
    """

    track_ids_QK: Ids
    scores_QK: FloatArray
    segments_QK: Ids


@dataclass(frozen=True, eq=False, slots=True)
class Found:
    """The best tracks for one query, best first, ties by id: whole-numbered dots, ids, and which segment it was."""

    dots: NDArray[np.float64]
    track_ids: Ids
    segments: Ids


NOTHING = Found(np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.int64))


class Store(Protocol):
    """Vectors and frames of one space."""

    @property
    def space(self) -> Space:
        """What the vectors mean."""
        ...

    @property
    def track_ids(self) -> Ids:
        """The tracks that are in it, ascending."""
        ...

    def sample(self, count: int) -> FloatArray:
        """At most ``count`` segment vectors, evenly spaced over the store [shape=(S, D)]: what its tracks are like."""
        ...

    def nearest(self, query_QD: FloatArray, k: int, allowed: Ids | None = None) -> Nearest:
        """The ``k`` best tracks for each unit query vector, among the ``allowed`` ones (all when None)."""
        ...

    def frames(self, track_ids: Sequence[int]) -> list[Int8Array]:
        """Frame matrices [shape=(T, D)] in the order asked; read-only."""
        ...

    def append(self, tracks: Sequence[TrackVectors]) -> list[Placement]:
        """Keep these tracks; on return they are safe on disk, but not part of the store before it is opened anew."""
        ...

    def compact(self) -> list[Placement]:
        """Rewrite without the rows that no track owns any more; in force once the store is opened anew."""
        ...


def check_query(query_QD: FloatArray, space: Space) -> FloatArray:
    """The query, if it has the store's dimension and is finite.

    Raises
    ------
    InputError
        Otherwise.
    """
    if query_QD.ndim != 2 or query_QD.shape[1] != space.dim or not np.isfinite(query_QD).all():
        raise InputError(
            f"a query of shape {query_QD.shape} does not fit {space.name!r}: expected finite vectors (Q, {space.dim})."
        )
    return query_QD


def answer(rows: Sequence[Found], k: int) -> Nearest:
    """What was found for each query, padded to ``k``."""
    ids = np.full((len(rows), k), -1, np.int64)
    scores = np.full((len(rows), k), -np.inf, np.float32)
    segments = np.full((len(rows), k), -1, np.int64)
    for q, found in enumerate(rows):
        count = len(found.track_ids)
        ids[q, :count], segments[q, :count] = found.track_ids, found.segments
        scores[q, :count] = found.dots / INT8_SCALE**2
    return Nearest(track_ids_QK=ids, scores_QK=scores, segments_QK=segments)


def evenly(segments_ND: Int8Array, count: int) -> FloatArray:
    """At most ``count`` rows, evenly spaced, as floats."""
    at = np.linspace(0, max(len(segments_ND) - 1, 0), min(count, len(segments_ND))).round().astype(np.int64)
    rows: FloatArray = segments_ND[at].astype(np.float32) / np.float32(INT8_SCALE)
    return rows
