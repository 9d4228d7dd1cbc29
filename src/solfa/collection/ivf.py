"""An inverted-file (IVF) index for collections beyond a million segments: which rows are near which centre.

The rows themselves remain where they are. A query visits the cells whose centres are nearest, and everything in them is
scored exactly, as in a full scan; only rows of cells that are not visited can be missed. Rows added since the index was
made are always visited. It is made from the vectors alone, so it can be deleted and made again at any time.
"""

from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from solfa.collection.store import Ids, Int8Array
from solfa.core.files import whole_file
from solfa.core.types import FloatArray

WORTH_IT = 1_000_000  # segments up to which scanning them all is fast enough, and exact
STALE = 0.2  # share of rows that came after the index, from which on it is made again
VISITED = 32  # cells that a query visits; a cell holds about sqrt(rows) / 2 rows
_SAMPLE_PER_CELL = 50
_ASSIGN_ROWS = 16_384


@dataclass(frozen=True, eq=False, slots=True)
class IvfIndex:
    """``rows`` in the order of their cells; those of cell c are ``rows[bounds[c]:bounds[c + 1]]``."""

    centres_CD: FloatArray
    bounds: Ids
    rows: NDArray[np.int32]

    def visit(self, query_D: FloatArray, num_rows: int) -> Ids:
        """Which of the rows may be near the query, ascending."""
        count = min(VISITED, len(self.centres_CD))
        near = np.argpartition(self.centres_CD @ query_D, -count)[-count:]
        found = [self.rows[self.bounds[c] : self.bounds[c + 1]] for c in near]
        return np.sort(np.concatenate([*found, np.arange(len(self.rows), num_rows)]).astype(np.int64))


def build(segments_SD: Int8Array, seed: int = 0) -> IvfIndex:
    """An index over all these rows: spherical k-means on a sample, then every row to its nearest centre."""
    num_rows = len(segments_SD)
    num_cells = max(1, round(2 * num_rows**0.5))
    rng = np.random.default_rng(seed)
    sample = np.sort(rng.choice(num_rows, min(num_rows, _SAMPLE_PER_CELL * num_cells), replace=False))
    centres = _centres(segments_SD[sample], num_cells, rng)
    nearest = _nearest(segments_SD, centres)
    rows = np.argsort(nearest, kind="stable").astype(np.int32)
    counts = np.bincount(nearest, minlength=num_cells)
    return IvfIndex(centres, np.concatenate([[0], np.cumsum(counts)]), rows)


def _centres(sample_SD: Int8Array, num_cells: int, rng: np.random.Generator) -> FloatArray:
    """Unit centres after eight rounds of spherical k-means; a cell that runs empty starts again somewhere."""
    centres = sample_SD[rng.choice(len(sample_SD), num_cells, replace=False)].astype(np.float32)
    for _ in range(8):
        centres /= np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1e-9)
        nearest = _nearest(sample_SD, centres)
        counts = np.bincount(nearest, minlength=num_cells)
        full = np.flatnonzero(counts)
        ordered = sample_SD[np.argsort(nearest, kind="stable")].astype(np.float32)
        centres[full] = np.add.reduceat(ordered, (np.cumsum(counts) - counts)[full])
        empty = np.flatnonzero(counts == 0)
        centres[empty] = sample_SD[rng.integers(0, len(sample_SD), len(empty))]
    unit: FloatArray = centres / np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1e-9)
    return unit


def _nearest(rows_ND: Int8Array, centres_CD: FloatArray) -> NDArray[np.int32]:
    """The nearest centre of every row, a block of rows at a time."""
    nearest = np.empty(len(rows_ND), np.int32)
    for start in range(0, len(rows_ND), _ASSIGN_ROWS):
        block = rows_ND[start : start + _ASSIGN_ROWS].astype(np.float32)
        nearest[start : start + len(block)] = np.argmax(block @ centres_CD.T, axis=1)
    return nearest


def save(index: IvfIndex, path: Path) -> None:
    """Write it, all or nothing."""
    with whole_file(path) as file:
        np.savez(file, centres=index.centres_CD, bounds=index.bounds, rows=index.rows)


def load(path: Path, num_rows: int, dim: int) -> IvfIndex | None:
    """What was saved; None if there is nothing, or it does not fit these vectors (it is only derived)."""
    if not path.exists():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as parts:
            index = IvfIndex(parts["centres"], parts["bounds"], parts["rows"])
        counts = np.diff(index.bounds)
        fits = (
            index.centres_CD.shape == (len(counts), dim) and counts.min() >= 0 and index.bounds[0] == 0
            and index.bounds[-1] == len(index.rows) <= num_rows
            and index.rows.min() >= 0 and index.rows.max() < num_rows and np.isfinite(index.centres_CD).all()
        )  # fmt: skip
    except (OSError, ValueError, LookupError, TypeError, EOFError, BadZipFile, RuntimeError, MemoryError):
        return None
    return index if fits else None
