"""Where vectors and frames live, behind a small protocol.

Candidates are found by segment vectors and scored in detail by windows (``alignment.scores``). Of a model that was
trained on clips of one length a segment is a window of that length; its pooled vector and frames are kept in float16,
fine enough that search orders tracks as evaluation does (``docs/adr/0006-views.md``). Other models' frames are int8.

Segment vectors are unit vectors as int8 with one global scale (``alignment.scores.quantise``), queries too: a score is
an integer dot product over 127 squared. Integers leave no room for rounding, so every store that is exact gives the
same scores to the last bit (the oracle of all is ``tests/unit/collection/numpy_store.py``).

Shape letters: Q queries, K results, S segments, T frames, D dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from solfa.alignment.scores import INT8_SCALE, Windows, laid_out, quantise
from solfa.core.errors import InputError
from solfa.core.types import EncoderSpec, FloatArray
from solfa.encoders.windows import segment_ranges

Int8Array = NDArray[np.int8]
Ids = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Space:
    """An embedding space: vectors of different spaces are never compared.

    ``window_s`` is the length of a window of sound, 0 where windows are segments of pooled frames.
    """

    name: str
    dim: int
    hop_s: float
    window_s: float = 0.0

    @classmethod
    def of(cls, spec: EncoderSpec) -> Space:
        """The space that an encoder writes to."""
        return cls(name=spec.space, dim=spec.dim, hop_s=spec.hop_s, window_s=spec.window_s)

    @property
    def frame_dtype(self) -> np.dtype[np.generic]:
        """How the frames file holds numbers."""
        return np.dtype(np.float16 if self.window_s else np.int8)


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class TrackVectors:
    """What a store keeps of one track: segment vectors in int8, and the rows of the frames file.

    Where the space has windows, these rows are, window by window, its pooled vector and its frames, and ``counts`` says
    how many frames each window has; else they are the frames.
    """

    track_id: int
    segments_SD: Int8Array
    frames_TD: NDArray[np.generic]
    counts: tuple[int, ...] = ()

    @classmethod
    def of(cls, track_id: int, space: Space, candidates_SD: FloatArray, windows: Windows) -> TrackVectors:
        """What is kept of windows and the vectors that candidates are found by."""
        segments, frames = quantise(candidates_SD), np.asarray(windows.frames_TD, np.float32)
        if not space.window_s:
            return cls(track_id=track_id, segments_SD=segments, frames_TD=quantise(frames))
        ranges = windows.ranges_W2.tolist()
        parts = [np.zeros((0, space.dim), np.float32)]
        for vector, (first, last) in zip(np.asarray(windows.pooled_WD, np.float32), ranges, strict=True):
            parts += [vector[None], frames[first:last]]
        rows, counts = np.concatenate(parts).astype(np.float16), tuple(last - first for first, last in ranges)
        return cls(track_id=track_id, segments_SD=segments, frames_TD=rows, counts=counts)

    def windows(self, space: Space) -> Windows:
        """The windows as they are scored."""
        if not space.window_s:
            ranges = np.array(segment_ranges(len(self.frames_TD), space.hop_s), np.int64).reshape(-1, 2)
            times = (np.arange(len(self.frames_TD)) * space.hop_s).astype(np.float32)
            return Windows(self.segments_SD, self.frames_TD, ranges, times)
        rows = np.array(self.counts, np.int64) + 1
        is_pooled = np.zeros(len(self.frames_TD), bool)
        is_pooled[np.cumsum(rows) - rows] = True
        pooled, frames = self.frames_TD[is_pooled], self.frames_TD[~is_pooled]
        return laid_out(pooled, frames, self.counts, space.window_s, space.hop_s)


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
class BestSegments:
    """The best tracks for one query, best first, ties by id: whole-numbered dots, ids, and which segment it was."""

    dots: NDArray[np.float64]
    track_ids: Ids
    segments: Ids


NOTHING = BestSegments(np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.int64))


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

    def windows(self, track_ids: Sequence[int]) -> list[Windows]:
        """What these tracks are scored by, in the order asked; read-only."""
        ...

    def append(self, tracks: Sequence[TrackVectors]) -> list[Placement]:
        """Keep these tracks; on return they are safe on disk, but not part of the store before it is opened again."""
        ...

    def compact(self) -> list[Placement]:
        """Rewrite without the rows that no track owns any more; in force once the store is opened again."""
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


def answer(rows: Sequence[BestSegments], k: int) -> Nearest:
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
