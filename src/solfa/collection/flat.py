"""The default store: two append-only files of rows, memory-mapped, scanned exactly.

``segments.G.i8`` and ``frames.G.i8`` (``frames.G.f16`` where the space has windows) hold nothing but rows; which row
belongs to which track is in the database, and only what the database has committed counts. Rows are on disk (fsync)
before the commit that names them, so a crash leaves at most a tail that nobody refers to; the next writer cuts it off.
Readers map the committed range only and keep it however much is appended. Compaction writes generation G+1 beside G.
"""

from __future__ import annotations

import mmap
import os
import zlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numkong
import numpy as np
from numpy.typing import NDArray

from solfa.alignment.scores import Windows, quantise
from solfa.collection import ivf
from solfa.collection.ivf import IvfIndex
from solfa.collection.store import (
    NOTHING,
    BestSegments,
    Ids,
    Int8Array,
    Nearest,
    Placement,
    Space,
    TrackVectors,
    answer,
    check_query,
    evenly,
)
from solfa.core.errors import CollectionDamaged, CollectionError
from solfa.core.types import FloatArray

_ROWS_A_THREAD = 500_000  # rows that one thread scans; more are shared with another
_MOST_ROWS = 1 << 40  # no file is larger; beyond it sums would overflow
_GATHER_BELOW = 0.1  # share of rows under which copying the wanted ones together beats scanning all


@dataclass(frozen=True, eq=False, slots=True)
class _Tracks:
    """Tracks that have segments, in the order of their rows: where those begin, and how many they are."""

    ids: Ids
    starts: Ids
    counts: Ids

    def only(self, keep: NDArray[np.bool_]) -> _Tracks:
        return self if keep.all() else _Tracks(self.ids[keep], self.starts[keep], self.counts[keep])


class FlatStore:
    """Vectors of one space under ``directory`` (see `Store`).

    ``generation`` numbers the files in force. ``placements`` are the tracks as the database has committed them: track
    id, segment at, segments, frame at, frames [shape=(N, 5)]; ``counts`` are the frames of each window of a track,
    where the space has windows.

    Raises
    ------
    CollectionError
        If a file is shorter than what was committed.
    ValueError
        If tracks lie where none can, or across each other.
    """

    def __init__(
        self,
        directory: Path,
        space: Space,
        generation: int,
        placements: NDArray[np.int64],
        counts: Mapping[int, tuple[int, ...]] | None = None,
    ) -> None:
        self._directory, self.space, self.generation, self._counts = directory, space, generation, counts or {}
        _check(placements)
        order = np.argsort(placements[:, 1], kind="stable") if len(placements) else slice(None)
        self._placements = placements[order]
        columns = self._placements[self._placements[:, 2] > 0, :3].T
        self._scanned = _Tracks(*(np.ascontiguousarray(column) for column in columns))
        self.track_ids = np.sort(self._placements[:, 0])
        self._row = {int(track_id): row for row, track_id in enumerate(self._placements[:, 0])}
        self._segments: Int8Array = self._map("segments", 1)
        self._frames = self._map("frames", 3)
        large = len(self._segments) > ivf.WORTH_IT
        self._ivf = ivf.load(self._ivf_path(), len(self._segments), space.dim) if large else None

    def sample(self, count: int) -> FloatArray:
        """Evenly spaced segments; rows that no track owns any more may be among them."""
        return evenly(self._segments, count)

    def nearest(self, query_QD: FloatArray, k: int, allowed: Ids | None = None) -> Nearest:
        """The best tracks: by an exact scan, or over ``ivf.WORTH_IT`` segments of what the derived index names."""
        queries = quantise(check_query(query_QD, self.space))
        tracks = self._scanned
        if allowed is not None:
            tracks = tracks.only(np.isin(tracks.ids, allowed, kind="table"))
        if len(tracks.ids) == 0:
            return answer([NOTHING for _ in queries], k)
        total = int(tracks.counts.sum())
        if total < _GATHER_BELOW * len(self._segments):
            packed = _Tracks(tracks.ids, np.cumsum(tracks.counts) - tracks.counts, tracks.counts)
            rows = self._segments[np.repeat(tracks.starts - packed.starts, tracks.counts) + np.arange(total)]
            return answer([_best(_dots(query, rows), packed, k) for query in queries], k)
        if self._ivf is not None:
            return answer([self._among_visited(self._ivf, query, tracks, k) for query in queries], k)
        return answer([_best(_dots(query, self._segments), tracks, k) for query in queries], k)

    def _among_visited(self, index: IvfIndex, query_D: Int8Array, tracks: _Tracks, k: int) -> BestSegments:
        rows = index.visit(query_D.astype(np.float32), len(self._segments))
        owner = np.searchsorted(tracks.starts, rows, side="right") - 1
        mine = (owner >= 0) & (rows < (tracks.starts + tracks.counts)[owner])
        rows, owner = rows[mine], owner[mine]
        if len(rows) == 0:
            return NOTHING
        starts = np.flatnonzero(np.diff(owner, prepend=-1))
        visited = _Tracks(tracks.ids[owner[starts]], starts, np.diff(starts, append=len(rows)))
        found = _best(_dots(query_D, self._segments[rows]), visited, k)
        # What was the n-th visited row of a track is not its n-th segment.
        by_id = np.argsort(visited.ids)
        place = by_id[np.searchsorted(visited.ids, found.track_ids, sorter=by_id)]
        segments = rows[starts[place] + found.segments] - tracks.starts[owner[starts]][place]
        return BestSegments(found.dots, found.track_ids, segments)

    def index(self) -> bool:
        """Make the derived index if the store is large enough and has none, or a stale one; says if it did."""
        size = len(self._segments)
        if size <= ivf.WORTH_IT or (self._ivf and self._ivf.covered >= (1 - ivf.STALE) * size):
            return False
        self._ivf = ivf.build(self._segments)
        ivf.save(self._ivf, self._ivf_path())
        return True

    def windows(self, track_ids: Sequence[int]) -> list[Windows]:
        """Windows over views of the mapped files; their pages are asked for at once, not fault by fault."""
        ranges, segments = [], self._segments.view(np.ndarray)  # every step on a memmap costs more
        for track_id in track_ids:
            row = self._row.get(int(track_id))
            if row is None:
                raise CollectionError(f"track {track_id} has no vectors of the space {self.space.name!r}.")
            ranges.append(tuple(map(int, self._placements[row, 1:])))
        backing = getattr(self._frames, "_mmap", None)
        if isinstance(backing, mmap.mmap) and hasattr(mmap, "MADV_WILLNEED"):
            width = self._width("frames")
            for _, _, at, count in ranges:
                if count == 0:
                    continue  # nothing to ask for, and the end of the file is out of bounds
                start = at * width // mmap.PAGESIZE * mmap.PAGESIZE
                backing.madvise(mmap.MADV_WILLNEED, start, (at + count) * width - start)
        rows = self._frames.view(np.ndarray)
        if rows.dtype == np.float16 and any(not_finite(rows[at : at + count]) for _, _, at, count in ranges):
            raise CollectionDamaged(self._directory.parents[1], f"{self._path('frames')} holds what is no number")
        return [
            TrackVectors(
                track_id=track_id,
                segments_SD=segments[segment_at : segment_at + num_segments],
                frames_TD=rows[at : at + count],
                counts=self._counts.get(int(track_id), ()),
            ).windows(self.space)
            for track_id, (segment_at, num_segments, at, count) in zip(track_ids, ranges, strict=True)
        ]

    def append(self, tracks: Sequence[TrackVectors]) -> list[Placement]:
        """Write the rows and force them to disk; what went wrong half-way is cut off again.

        Raises
        ------
        CollectionError
            If the disk refuses.
        """
        return self._write(tracks)

    def compact(self) -> list[Placement]:
        """Copy the owned rows, in the order of track ids, to the files of the next generation."""
        self.generation += 1
        for name in ("segments", "frames"):
            self._path(name).unlink(missing_ok=True)
        tracks = (
            TrackVectors(
                track_id=track_id,
                segments_SD=self._segments[segment_at : segment_at + segments],
                frames_TD=self._frames[frame_at : frame_at + frames],
            )
            for track_id, segment_at, segments, frame_at, frames in sorted(self._placements.tolist())
        )
        return self._write(tracks)

    def cut_tail(self, segment_rows: int, frame_rows: int) -> None:
        """Forget rows that no commit names. Only the writer may do this."""
        for name, rows in (("segments", segment_rows), ("frames", frame_rows)):
            path = self._path(name)
            if path.exists() and path.stat().st_size > rows * self._width(name):
                os.truncate(path, rows * self._width(name))

    def drop_older(self) -> None:
        """Delete the files of other generations. Readers that have them mapped keep them until they close."""
        for path in [*self._directory.glob("*.i8"), *self._directory.glob("*.f16"), *self._directory.glob("*.npz")]:
            if path.name.split(".")[1] != str(self.generation):
                path.unlink(missing_ok=True)

    def damaged(self, crcs: dict[int, int]) -> list[int]:
        """Ids of tracks whose rows are not what was written."""
        placed = [Placement(i, at, n, frame_at, m, crcs[i]) for i, at, n, frame_at, m in self._placements.tolist()]
        return sorted(set(crcs) - {p.track_id for p in intact(self._directory, self.space, self.generation, placed)})

    def _ivf_path(self) -> Path:
        return self._directory / f"cells.{self.generation}.npz"

    def _dtype(self, name: str) -> np.dtype[np.generic]:
        return self.space.frame_dtype if name == "frames" else np.dtype(np.int8)

    def _width(self, name: str) -> int:
        """Bytes of a row."""
        return self.space.dim * self._dtype(name).itemsize

    def _path(self, name: str) -> Path:
        return self._directory / file_name(name, self.generation, self.space)

    def _map(self, name: str, column: int) -> NDArray[Any]:
        rows = int((self._placements[:, column] + self._placements[:, column + 1]).max(initial=0))
        if rows == 0:
            return np.zeros((0, self.space.dim), self._dtype(name))
        path, needed = self._path(name), rows * self._width(name)
        size = path.stat().st_size if path.exists() else 0
        if size < needed:
            raise CollectionError(
                f"{path} holds {size} bytes, {needed} were committed: the file is damaged. Restore it from a "
                f"backup, or run solfa index again: vectors are made again, the analysis is kept."
            )
        return np.memmap(path, self._dtype(name), "r", shape=(rows, self.space.dim))

    def _write(self, tracks: Iterable[TrackVectors]) -> list[Placement]:
        paths = [self._path(name) for name in ("segments", "frames")]
        sizes = [p.stat().st_size if p.exists() else 0 for p in paths]
        placements, ends = [], [size // self._width(n) for n, size in zip(("segments", "frames"), sizes, strict=True)]
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            with paths[0].open("ab") as segments, paths[1].open("ab") as frames:
                for track in tracks:
                    frame_rows = np.ascontiguousarray(track.frames_TD, self.space.frame_dtype)
                    blocks = [np.ascontiguousarray(track.segments_SD), frame_rows]
                    segments.write(blocks[0].data)
                    frames.write(blocks[1].view(np.uint8).data)
                    rows = [len(block) for block in blocks]
                    placements.append(Placement(track.track_id, ends[0], rows[0], ends[1], rows[1], _crc(*blocks)))
                    ends = [end + count for end, count in zip(ends, rows, strict=True)]
                for file in (segments, frames):
                    file.flush()
                    os.fsync(file.fileno())
            if 0 in sizes:
                _sync_directory(self._directory)
        except OSError as error:
            for path, size in zip(paths, sizes, strict=True):
                if path.exists():
                    os.truncate(path, size)
            raise CollectionError(
                f"cannot write {error.filename or self._directory}: {error.strerror}. What was committed before "
                f"is safe; make room and run the command again."
            ) from error
        return placements


def file_name(name: str, generation: int, space: Space) -> str:
    """The file of a space that holds its ``segments`` or ``frames``."""
    return f"{name}.{generation}.{'f16' if name == 'frames' and space.window_s else 'i8'}"


def not_finite(rows: NDArray[Any]) -> bool:
    """Whether a number of float16 is infinite or none: all bits of its exponent are set."""
    return bool(((rows.view(np.uint16) & 0x7C00) == 0x7C00).any())


def _check(placements: NDArray[np.int64]) -> None:
    if ((placements[:, 1:] < 0) | (placements[:, 1:] > _MOST_ROWS)).any():
        raise ValueError("the rows of a track lie where none can be")
    for at, count in ((1, 2), (3, 4)):
        own = placements[placements[:, count] > 0]
        own = own[np.argsort(own[:, at], kind="stable")]
        if (own[:-1, at] + own[:-1, count] > own[1:, at]).any():
            raise ValueError("the rows of two tracks lie across each other")


def intact(directory: Path, space: Space, generation: int, placed: Iterable[Placement]) -> list[Placement]:
    """Those whose rows are in the files and are what was written, none across another."""
    files = []
    for name, dtype in (("segments", np.dtype(np.int8)), ("frames", space.frame_dtype)):
        path = directory / file_name(name, generation, space)
        rows = path.stat().st_size // (space.dim * dtype.itemsize) if path.is_file() else 0
        shape = (rows, space.dim)
        files.append(np.memmap(path, dtype, "r", shape=shape) if rows else np.zeros(shape, dtype))
    good, ends = [], (0, 0)
    for p in sorted(placed, key=lambda p: (p.segment_at, p.frame_at)):
        spans = ((p.segment_at, p.segments), (p.frame_at, p.frames))
        inside = all(count >= 0 and end <= at <= at + count <= len(rows)
                     for (at, count), end, rows in zip(spans, ends, files, strict=True))  # fmt: skip
        if inside and _crc(*(rows[at : at + count] for (at, count), rows in zip(spans, files, strict=True))) == p.crc:
            good.append(p)
            ends = (p.segment_at + p.segments, p.frame_at + p.frames)
    return good


def _dots(query_D: Int8Array, rows_SD: Int8Array) -> NDArray[np.float64]:
    if len(rows_SD) <= _ROWS_A_THREAD:
        dots: NDArray[np.float64] = np.asarray(numkong.cdist(query_D[None], rows_SD, "dot"))[0]
        return dots
    # NumKong lets go of the interpreter. Memory is what limits a scan: two cores reach nearly all of its bandwidth.
    half = len(rows_SD) // 2
    with ThreadPoolExecutor(1) as beside:
        second = beside.submit(_dots, query_D, rows_SD[half:])
        return np.concatenate([_dots(query_D, rows_SD[:half]), second.result()])


def _best(dots: NDArray[np.float64], tracks: _Tracks, k: int) -> BestSegments:
    best = _segment_max(dots, tracks.starts, tracks.counts)
    if len(best) > k:
        keep = best >= np.partition(best, len(best) - k)[len(best) - k]
        best, tracks = best[keep], tracks.only(keep)
    order = np.lexsort((tracks.ids, -best))[:k]
    best, counts = best[order], tracks.counts[order]
    # The first segment of each track that has the best value: all segments of all of them laid end to end.
    begins = np.cumsum(counts) - counts
    within = np.arange(counts.sum()) - np.repeat(begins, counts)
    is_best = dots[np.repeat(tracks.starts[order], counts) + within] == np.repeat(best, counts)
    segments = np.minimum.reduceat(np.where(is_best, within, len(dots)), begins)
    return BestSegments(best, tracks.ids[order], segments)


def _segment_max(dots: NDArray[np.float64], starts: Ids, counts: Ids) -> NDArray[np.float64]:
    """Maximum of every range; ranges do not overlap and lie in order, gaps belong to nobody."""
    ends = starts + counts
    if ends[-1] == len(dots) and np.array_equal(starts[1:], ends[:-1]):
        edges, step = starts, 1
    else:
        edges, step = np.stack([starts, ends], axis=1).reshape(-1), 2
        edges = edges[:-1] if edges[-1] == len(dots) else edges
    best: NDArray[np.float64] = np.maximum.reduceat(dots, edges)[::step]
    return best


def _sync_directory(directory: Path) -> None:
    """Make the names of new files as durable as their contents; Windows does that by itself."""
    if os.name == "posix":
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _crc(segments: Int8Array, frames: NDArray[np.generic]) -> int:
    rows = np.ascontiguousarray(frames).view(np.uint8)
    return zlib.crc32(rows.data, zlib.crc32(np.ascontiguousarray(segments).data))
