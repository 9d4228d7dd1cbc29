"""Files of raw states: for each item its states [T, D], then its pooled vector [P], float16, nothing between.

A block is a folder with ``values.f16`` and ``index.json`` (the space, how many states each item has, what the items
are). It is written beside its place and renamed, so it is whole or not there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from solfa.core.errors import InputError
from solfa.core.types import EncoderSpec, HalfArray, States
from solfa.data.shards import read_json, write_json

SCHEMA = "solfa.states/1"
_LARGEST = float(np.finfo(np.float16).max)


def write_block(folder: Path, spec: EncoderSpec, batches: Iterable[States], content: Mapping[str, Any]) -> None:
    """Write the states of all batches; ``content`` says in the index what the items are.

    Raises
    ------
    InputError
        If states cannot be held in float16, or are not as wide as ``spec`` says.
    """
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    lengths, pooled_dim = [], 0
    with (temporary / "values.f16").open("wb") as file:
        for states in batches:
            pooled_dim, width = states.pooled_BD.shape[1], states.states_BTD.shape[2]
            if width != spec.dim:
                raise InputError(f"{spec.name}: its states are {width} wide, its spec says {spec.dim}.")
            for rows, mask, pooled in zip(states.states_BTD, states.mask_BT, states.pooled_BD, strict=True):
                lengths.append(int(mask.sum()))
                file.write(_half(spec.name, rows[mask]))
                file.write(_half(spec.name, pooled))
        file.flush()
        os.fsync(file.fileno())
    sizes = {"dim": spec.dim, "pooled_dim": pooled_dim, "hop_s": spec.hop_s, "lengths": lengths}
    write_json(temporary / "index.json", {"schema": SCHEMA, "space": spec.space, **sizes, **content})
    temporary.rename(folder)


def _half(name: str, values: Any) -> bytes:
    peak = float(np.abs(values).max(initial=0.0))
    if not peak <= _LARGEST:  # also true of NaN
        raise InputError(f"{name}: a state reaches {peak}, which float16 cannot hold.")
    return np.ascontiguousarray(values, "<f2").tobytes()


class Block:
    """One block, opened for reading; no file stays open.

    Raises
    ------
    InputError
        If it is not there, damaged, or of another space than ``space``.
    """

    def __init__(self, folder: Path, space: str) -> None:
        if not folder.is_dir():
            cache = folder.parent.parent
            kept = ", ".join(sorted(p.name for p in cache.glob("*/"))) or "none"
            raise InputError(
                f"{cache} does not hold these clips' states of {space!r} (spaces it has: {kept}). Compute them first."
            )
        self.index = read_json(folder / "index.json", SCHEMA)
        if (found := self.index.get("space")) != space:
            raise InputError(f"{folder} holds states of {found!r}, not of {space!r}.")
        try:
            self.dim, self.pooled_dim = int(self.index["dim"]), int(self.index["pooled_dim"])
            self.hop_s = float(self.index["hop_s"])
            self.lengths = np.array(self.index["lengths"], np.int64)
        except (KeyError, ValueError, TypeError) as bad:
            raise InputError(f"{folder}: its index is damaged ({bad}). Delete it and compute again.") from bad
        self._file = folder / "values.f16"
        self._starts = np.concatenate([[0], np.cumsum(2 * (self.lengths * self.dim + self.pooled_dim))])
        if (size := self._file.stat().st_size) != self._starts[-1]:
            raise InputError(f"{self._file} has {size} bytes, not {self._starts[-1]}. Delete {folder}; compute again.")

    def read(self, item: int, states_TD: HalfArray, pooled_D: HalfArray) -> None:
        """Fill both arrays with what is kept of an item: its ``lengths[item]`` states, its pooled vector."""
        with self._file.open("rb", buffering=0) as file:
            file.seek(int(self._starts[item]))
            for array in (states_TD, pooled_D):
                view = memoryview(array.data).cast("B")
                while len(view):
                    got = file.readinto(view)
                    if not got:
                        raise InputError(f"{self._file} was cut short while it was in use.")
                    view = view[got:]
