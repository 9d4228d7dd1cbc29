"""What is kept of a track's sound in an embedding space, and the two append-only files that hold it.

``segments.G.i8`` and ``frames.G.i8`` (``frames.G.f16`` where the space has windows) hold nothing but rows; which row
belongs to which track is in the database, and only what the database has committed counts. Rows are on disk (fsync)
before the commit that names them, so a crash leaves at most a tail that nobody refers to; the next writer cuts it off.
Readers map the committed range only and keep it however much is appended. Compaction writes generation G+1 next to G.

Candidates are found by segment vectors and scored in detail by windows (``alignment.scores``). Of a model that was
trained on clips of one length a segment is a window of that length; its pooled vector and frames are kept in float16,
fine enough that search orders tracks as evaluation does (``docs/adr/0006-views.md``). Other models' frames are int8.

Segment vectors are unit vectors as int8 with one global scale (``alignment.scores.quantise``), queries too: a score is
an integer dot product over 127 squared, without rounding.

Shape letters: S segments, T frames, D dimensions.
"""

import os
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solfa.alignment.scores import Windows, laid_out, quantise
from solfa.core.errors import CollectionError
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
    def of(cls, spec: EncoderSpec) -> "Space":
        """The space that an encoder writes to."""
        return cls(name=spec.space, dim=spec.dim, hop_s=spec.hop_s, window_s=spec.window_s)

    @property
    def frame_dtype(self) -> np.dtype[np.generic]:
        """How the frames file holds numbers."""
        return np.dtype(np.float16 if self.window_s else np.int8)


@dataclass(frozen=True, eq=False, kw_only=True, slots=True)
class TrackVectors:
    """What is kept of one track: segment vectors in int8, and the rows of the frames file.

    Where the space has windows, these rows are, window by window, its pooled vector and its frames, and ``counts`` says
    how many frames each window has; else they are the frames.
    """

    track_id: int
    segments_SD: Int8Array
    frames_TD: NDArray[np.generic]
    counts: tuple[int, ...] = ()

    @classmethod
    def of(cls, track_id: int, space: Space, candidates_SD: FloatArray, windows: Windows) -> "TrackVectors":
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
    """Where the rows of a track are; ``crc`` is the CRC-32 of its segments followed by its frames."""

    track_id: int
    segment_at: int
    segments: int
    frame_at: int
    frames: int
    crc: int


class SpaceFiles:
    """The files of one generation of a space, segments and then frames: here rows are appended, cut off, verified."""

    def __init__(self, directory: Path, space: Space, generation: int) -> None:
        self.directory, self.space, self.generation = directory, space, generation
        suffix = "f16" if space.window_s else "i8"
        self.paths = (directory / f"segments.{generation}.i8", directory / f"frames.{generation}.{suffix}")
        self.dtypes = (np.dtype(np.int8), space.frame_dtype)
        self.widths = tuple(space.dim * dtype.itemsize for dtype in self.dtypes)  # bytes of a row

    def sizes(self) -> list[int]:
        """Bytes of each file."""
        return [path.stat().st_size if path.is_file() else 0 for path in self.paths]

    def rows(self) -> list[int]:
        """How many rows each file holds."""
        return [size // width for size, width in zip(self.sizes(), self.widths, strict=True)]

    def mapped(self, rows: Sequence[int]) -> list[NDArray[Any]]:
        """So many rows from the start of each file, read-only.

        Raises CollectionError if a file is shorter.
        """
        arrays = []
        for path, dtype, size, width, count in zip(
            self.paths, self.dtypes, self.sizes(), self.widths, rows, strict=True
        ):
            if size < count * width:
                raise CollectionError(
                    f"{path} holds {size} bytes, {count * width} were committed: the file is damaged. Restore it from "
                    f"a backup, or run solfa index again: vectors are computed again, the analysis is kept."
                )
            shape = (count, self.space.dim)
            arrays.append(np.memmap(path, dtype, "r", shape=shape) if count else np.zeros(shape, dtype))
        return arrays

    def cut(self, rows: Sequence[int]) -> None:
        """Forget rows that no commit names. Only the writer may do this."""
        self._truncate([count * width for count, width in zip(rows, self.widths, strict=True)])

    def drop_others(self) -> None:
        """Delete the files of other generations. Readers that have them mapped keep them until they close."""
        for path in self.directory.glob("*.*"):
            if path.suffix in (".i8", ".f16", ".npz") and path.name.split(".")[1] != str(self.generation):
                path.unlink(missing_ok=True)

    def append(self, tracks: Iterable[TrackVectors]) -> list[Placement]:
        """Write the rows and force them to disk; what went wrong half-way is cut off again.

        Raises CollectionError if the disk refuses.
        """
        sizes, ends, placements = self.sizes(), self.rows(), []
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            with self.paths[0].open("ab") as segments, self.paths[1].open("ab") as frames:
                for track in tracks:
                    blocks = [np.ascontiguousarray(rows, dtype) for rows, dtype in
                              zip((track.segments_SD, track.frames_TD), self.dtypes, strict=True)]  # fmt: skip
                    segments.write(blocks[0].data)
                    frames.write(blocks[1].view(np.uint8).data)
                    rows = [len(block) for block in blocks]
                    placements.append(Placement(track.track_id, ends[0], rows[0], ends[1], rows[1], _crc(*blocks)))
                    ends = [end + count for end, count in zip(ends, rows, strict=True)]
                for file in (segments, frames):
                    file.flush()
                    os.fsync(file.fileno())
            if 0 in sizes:
                _sync_directory(self.directory)
        except OSError as error:
            self._truncate(sizes)
            raise CollectionError(
                f"cannot write {error.filename or self.directory}: {error.strerror}. What was committed before "
                f"is safe; free disk space and run the command again."
            ) from error
        return placements

    def intact(self, placed: Iterable[Placement]) -> list[Placement]:
        """Those whose rows are in the files and are what was written, none across another."""
        files, good, ends = self.mapped(self.rows()), [], (0, 0)
        for p in sorted(placed, key=lambda p: (p.segment_at, p.frame_at)):
            spans = ((p.segment_at, p.segments), (p.frame_at, p.frames))
            inside = all(count >= 0 and end <= at <= at + count <= len(rows)
                         for (at, count), end, rows in zip(spans, ends, files, strict=True))  # fmt: skip
            if (
                inside
                and _crc(*(rows[at : at + count] for (at, count), rows in zip(spans, files, strict=True))) == p.crc
            ):
                good.append(p)
                ends = (p.segment_at + p.segments, p.frame_at + p.frames)
        return good

    def _truncate(self, sizes: Sequence[int]) -> None:
        for path, size in zip(self.paths, sizes, strict=True):
            if path.exists() and path.stat().st_size > size:
                os.truncate(path, size)


def space_directory(directory: Path, space_id: int) -> Path:
    """Where the files of a space are in a collection."""
    return directory / "vectors" / str(space_id)


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
