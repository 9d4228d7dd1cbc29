"""Search over the vectors of one space: committed rows, memory-mapped, scanned exactly."""

import mmap
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numkong
import numpy as np
from numpy.typing import NDArray

from solfa.alignment.scores import INT8_SCALE, Windows, quantise
from solfa.collection import ivf
from solfa.collection.store import Ids, Int8Array, Placement, Space, SpaceFiles, TrackVectors
from solfa.core.errors import CollectionDamaged, CollectionError, InputError
from solfa.core.types import FloatArray

_ROWS_A_THREAD = 500_000  # rows that one thread scans; more are shared with another
_MOST_ROWS = 1 << 40  # no file is larger; beyond it sums would overflow
_GATHER_BELOW = 0.1  # share of rows under which copying the wanted ones together beats scanning all


class FlatStore:
    """Vectors and frames of one space under ``directory``; ``generation`` numbers the files in force.

    ``placements`` are the tracks as the database has committed them: track id, segment at, segments, frame at, frames
    [shape=(N, 5)]; ``counts`` are the frames of each window of a track, where the space has windows. ``track_ids`` are
    the tracks that are in it, ascending.

    Raises CollectionError if a file is shorter than what was committed; ValueError if tracks are where none can be, or
    across each other.
    """

    def __init__(
        self,
        directory: Path,
        space: Space,
        generation: int,
        placements: NDArray[np.int64],
        counts: Mapping[int, tuple[int, ...]] | None = None,
    ) -> None:
        self.space, self._files, self._counts = space, SpaceFiles(directory, space, generation), counts or {}
        _check(placements)
        self._placements = placements[np.argsort(placements[:, 1], kind="stable")]
        # Tracks that have segments, in the order of their rows: id, first row, number of rows.
        self._scanned = np.ascontiguousarray(self._placements[self._placements[:, 2] > 0, :3].T)
        self.track_ids = np.sort(self._placements[:, 0])
        self._row = {int(track_id): row for row, track_id in enumerate(self._placements[:, 0])}
        ends = self._placements[:, [1, 3]] + self._placements[:, [2, 4]]
        self._segments, self._frames = self._files.mapped(ends.max(axis=0, initial=0).tolist())
        large = len(self._segments) > ivf.WORTH_IT
        self._ivf = ivf.load(self._ivf_path(), len(self._segments), space.dim) if large else None

    def __contains__(self, track_id: int) -> bool:
        return track_id in self._row

    def sample(self, count: int) -> FloatArray:
        """At most ``count`` segments, evenly spaced over the tracks by id [shape=(S, D)]: what the tracks are like."""
        return self.segments_at(spread(self.num_segments, count))

    @property
    def num_segments(self) -> int:
        """Segments of all tracks."""
        return int(self._scanned[2].sum())

    def segments_at(self, numbers: NDArray[np.int64]) -> FloatArray:
        """Segments by their numbers, counted over the tracks by id [shape=(S, D)]."""
        starts, counts = self._scanned[1:, np.argsort(self._scanned[0])]
        ends = np.cumsum(counts)
        owner = np.searchsorted(ends, numbers, side="right")
        at = starts[owner] + numbers - (ends - counts)[owner]
        rows: FloatArray = self._segments[at].astype(np.float32) / np.float32(INT8_SCALE)
        return rows

    def nearest(self, query_D: FloatArray, k: int, allowed: Ids | None = None) -> tuple[Ids, FloatArray]:
        """Ids and cosines of the (at most) ``k`` best tracks, best first, ties by id.

        A track counts by its best segment. Tracks are the ``allowed`` ones, all when None. The scan is exact; over
        ``ivf.WORTH_IT`` segments those that the derived index names are scanned.

        Raises InputError if the query is not a finite vector of the space's dimension.
        """
        if query_D.shape != (self.space.dim,) or not np.isfinite(query_D).all():
            raise InputError(
                f"a query of shape {query_D.shape} does not fit {self.space.name!r}: expected {self.space.dim} numbers."
            )
        query = quantise(query_D)
        ids, starts, counts = self._scanned
        if allowed is not None:
            keep = np.isin(ids, allowed, kind="table")
            ids, starts, counts = self._scanned if keep.all() else self._scanned[:, keep]
        total = int(counts.sum())
        if total < _GATHER_BELOW * len(self._segments):
            begins = np.cumsum(counts) - counts
            rows = self._segments[np.repeat(starts - begins, counts) + np.arange(total)]
        elif self._ivf is not None:
            visited = self._ivf.visit(query.astype(np.float32), len(self._segments))
            owner = np.searchsorted(starts, visited, side="right") - 1
            mine = (owner >= 0) & (visited < (starts + counts)[owner])
            rows, owner = self._segments[visited[mine]], owner[mine]
            begins = np.flatnonzero(np.diff(owner, prepend=-1))
            ids, counts = ids[owner[begins]], np.diff(begins, append=len(rows))
        else:
            rows, begins = self._segments, starts
        if not len(ids):
            return np.zeros(0, np.int64), np.zeros(0, np.float32)
        best = _range_max(_dots(query, rows), begins, counts)
        if len(best) > k:
            among = best >= np.partition(best, len(best) - k)[len(best) - k]
            best, ids = best[among], ids[among]
        order = np.lexsort((ids, -best))[:k]
        return ids[order], (best[order] / INT8_SCALE**2).astype(np.float32)

    def index(self) -> bool:
        """Make the derived index if there are segments enough and it is missing or stale; says if it did."""
        size = len(self._segments)
        if size <= ivf.WORTH_IT or (self._ivf and len(self._ivf.rows) >= (1 - ivf.STALE) * size):
            return False
        self._ivf = ivf.build(self._segments)
        ivf.save(self._ivf, self._ivf_path())
        return True

    def windows(self, track_ids: Sequence[int]) -> list[Windows]:
        """What these tracks are scored by, in the order asked; read-only views of the mapped files.

        Raises CollectionError if a track has no vectors here, or they are damaged.
        """
        ranges = []
        for track_id in track_ids:
            if int(track_id) not in self._row:
                raise CollectionError(f"track {track_id} has no vectors of the space {self.space.name!r}.")
            ranges.append(tuple(map(int, self._placements[self._row[int(track_id)], 1:])))
        backing = getattr(self._frames, "_mmap", None)
        if isinstance(backing, mmap.mmap) and hasattr(mmap, "MADV_WILLNEED"):
            width = self._files.widths[1]
            for _, _, at, count in ranges:  # pages are asked for at once, not fault by fault
                if count == 0:
                    continue  # nothing to ask for, and the end of the file is out of bounds
                start = at * width // mmap.PAGESIZE * mmap.PAGESIZE
                backing.madvise(mmap.MADV_WILLNEED, start, (at + count) * width - start)
        segments, rows = (
            mapped.view(np.ndarray) for mapped in (self._segments, self._frames)
        )  # memmap steps cost more
        if rows.dtype == np.float16 and any(_not_finite(rows[at : at + count]) for _, _, at, count in ranges):
            path = self._files.paths[1]
            raise CollectionDamaged(path.parents[2], f"{path} holds values that are not numbers")
        return [
            TrackVectors(
                track_id=track_id,
                segments_SD=segments[segment_at : segment_at + num_segments],
                frames_TD=rows[at : at + count],
                counts=self._counts.get(int(track_id), ()),
            ).windows(self.space)
            for track_id, (segment_at, num_segments, at, count) in zip(track_ids, ranges, strict=True)
        ]

    def compact(self) -> tuple[int, list[Placement]]:
        """Copy the owned rows, by track id, to the files of the next generation: its number, and where they are."""
        files = SpaceFiles(self._files.directory, self.space, self._files.generation + 1)
        files.cut((0, 0))  # what a crash left
        return files.generation, files.append(
            TrackVectors(
                track_id=track_id,
                segments_SD=self._segments[segment_at : segment_at + segments],
                frames_TD=self._frames[frame_at : frame_at + frames],
            )
            for track_id, segment_at, segments, frame_at, frames in sorted(self._placements.tolist())
        )

    def _ivf_path(self) -> Path:
        return self._files.directory / f"cells.{self._files.generation}.npz"


def spread(total: int, count: int) -> NDArray[np.int64]:
    """At most ``count`` numbers below ``total``, evenly spaced.

    >>> spread(5, 3).tolist(), spread(2, 3).tolist()
    ([0, 2, 4], [0, 1])
    """
    at: NDArray[np.int64] = np.linspace(0, max(total - 1, 0), min(count, total)).round().astype(np.int64)
    return at


def _not_finite(rows: NDArray[Any]) -> bool:
    """Whether a number of float16 is infinite or none: all bits of its exponent are set."""
    return bool(((rows.view(np.uint16) & 0x7C00) == 0x7C00).any())


def _check(placements: NDArray[np.int64]) -> None:
    if ((placements[:, 1:] < 0) | (placements[:, 1:] > _MOST_ROWS)).any():
        raise ValueError("the rows of a track are outside the file")
    for at, count in ((1, 2), (3, 4)):
        own = placements[placements[:, count] > 0]
        own = own[np.argsort(own[:, at], kind="stable")]
        if (own[:-1, at] + own[:-1, count] > own[1:, at]).any():
            raise ValueError("the rows of two tracks overlap")


def _dots(query_D: Int8Array, rows_SD: Int8Array) -> NDArray[np.float64]:
    if len(rows_SD) <= _ROWS_A_THREAD:
        dots: NDArray[np.float64] = np.asarray(numkong.cdist(query_D[None], rows_SD, "dot"))[0]
        return dots
    # NumKong lets go of the interpreter. Memory is what limits a scan: two cores reach nearly all of its bandwidth.
    half = len(rows_SD) // 2
    with ThreadPoolExecutor(1) as beside:
        second = beside.submit(_dots, query_D, rows_SD[half:])
        return np.concatenate([_dots(query_D, rows_SD[:half]), second.result()])


def _range_max(dots: NDArray[np.float64], starts: Ids, counts: Ids) -> NDArray[np.float64]:
    """Maximum of every range; ranges do not overlap and are in order, gaps belong to nobody."""
    ends = starts + counts
    if ends[-1] == len(dots) and np.array_equal(starts[1:], ends[:-1]):
        edges, step = starts, 1
    else:
        edges, step = np.stack([starts, ends], axis=1).reshape(-1), 2
        edges = edges[:-1] if edges[-1] == len(dots) else edges
    best: NDArray[np.float64] = np.maximum.reduceat(dots, edges)[::step]
    return best
