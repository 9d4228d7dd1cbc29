"""Files of raw states: for each item its states [T, D], then its pooled vector [P], float16, nothing between.

A block is a folder with ``values.f16`` and ``index.json`` (the space, how many states each item has, what the items
are). It is written atomically (temporary name, then renamed).
"""

import mmap
import shutil
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from solfa.core.errors import InputError
from solfa.core.files import whole_file
from solfa.core.types import EncoderSpec, HalfArray, States
from solfa.datasets.shards import read_json, write_json

SCHEMA = "solfa.states/1"
_LARGEST = float(np.finfo(np.float16).max)


def write_block(folder: Path, spec: EncoderSpec, batches: Iterable[States], items: Sequence[str]) -> None:
    """Write the states of all batches; ``items`` say what each one is of.

    Raises InputError if states cannot be held in float16, and of which item; or are not as wide as ``spec`` says.
    """
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    lengths, pooled_dim = list[int](), 0
    with whole_file(temporary / "values.f16") as file:
        for states in batches:
            pooled_dim, width = states.pooled_BD.shape[1], states.states_BTD.shape[2]
            if width != spec.dim:
                raise InputError(f"{spec.name}: its states are {width} wide, its spec says {spec.dim}.")
            for rows, mask, pooled in zip(states.states_BTD, states.mask_BT, states.pooled_BD, strict=True):
                what = f"{spec.name}: {items[len(lengths)]!r:.80}"
                lengths.append(int(mask.sum()))
                file.write(_half(what, rows[mask]))
                file.write(_half(what, pooled))
    sizes = {"dim": spec.dim, "pooled_dim": pooled_dim, "hop_s": spec.hop_s, "lengths": lengths}
    write_json(temporary / "index.json", {"schema": SCHEMA, "space": spec.space, **sizes, "items": items})
    temporary.rename(folder)


def _half(what: str, values: Any) -> bytes:
    peak = float(np.abs(values).max(initial=0.0))
    if not peak <= _LARGEST:  # also true of NaN
        raise InputError(f"{what}: a state reaches {peak}, which float16 cannot hold.")
    return np.ascontiguousarray(values, "<f2").tobytes()


class Block:
    """One block, opened for reading.

    Raises InputError if it is not there, damaged, or of another space than ``space``.
    """

    def __init__(self, folder: Path, space: str) -> None:
        if not folder.is_dir():
            cache = folder.parent.parent
            kept = ", ".join(sorted(p.name for p in cache.glob("*/"))) or "none"
            raise InputError(
                f"{cache} does not hold these clips' states of {space!r} (spaces it has: {kept}). Compute them first."
            )
        index = read_json(folder / "index.json", SCHEMA)
        if (found := index.get("space")) != space:
            raise InputError(f"{folder} holds states of {found!r}, not of {space!r}.")
        try:
            self.dim, self.pooled_dim = int(index["dim"]), int(index["pooled_dim"])
            self.hop_s, self.items = float(index["hop_s"]), tuple(map(str, index["items"]))
            self.lengths = np.array(index["lengths"], np.int64)
        except (KeyError, ValueError, TypeError) as bad:
            raise InputError(f"{folder}: its index is damaged ({bad}). Delete it and compute again.") from bad
        self._file = folder / "values.f16"
        self._starts = np.concatenate([[0], np.cumsum(2 * (self.lengths * self.dim + self.pooled_dim))])
        if (size := self._file.stat().st_size) != self._starts[-1]:
            raise InputError(f"{self._file} has {size} bytes, not {self._starts[-1]}. Delete {folder}; compute again.")

    def expect(self, item: int) -> None:
        """Ask the system for an item's pages at once, so that they need not come fault by fault."""
        mapped = getattr(_mapped(self._file), "_mmap", None)
        if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_WILLNEED"):
            start, end = self._starts[item] // mmap.PAGESIZE * mmap.PAGESIZE, self._starts[item + 1]
            if end > start:
                mapped.madvise(mmap.MADV_WILLNEED, int(start), int(end - start))

    def read(self, item: int) -> tuple[HalfArray, HalfArray]:
        """States [shape=(T, D)] and pooled vector [shape=(P,)] of an item, as views of the mapped file."""
        values = _mapped(self._file)[self._starts[item] // 2 : self._starts[item + 1] // 2]
        border = len(values) - self.pooled_dim
        return values[:border].reshape(-1, self.dim), values[border:]


# Each map holds a descriptor, of which a process has some thousand; a map that is made again costs microseconds.
@lru_cache(maxsize=512)
def _mapped(file: Path) -> HalfArray:
    return np.memmap(file, "<f2", "r")
