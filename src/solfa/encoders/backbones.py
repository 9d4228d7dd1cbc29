"""Pretrained bodies by name: what projectors and adapters are trained on.

The table is ``backbones.toml`` beside this file; installed packages add to it as they add models (``registry``), with
an entry whose ``info.kind`` is ``audio backbone`` or ``text backbone``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Literal

import numpy as np

from solfa.core.errors import InputError
from solfa.core.files import table_of
from solfa.core.types import Backbone, FloatArray, ModelInfo, States
from solfa.encoders import registry

Kind = Literal["audio", "text"]


def available_backbones() -> tuple[ModelInfo, ...]:
    """What can be asked for, built-in bodies first."""
    return tuple(entry.info for kind in ("audio", "text") for entry in _entries(kind, installed=True).values())


def load_backbone(
    name: str, kind: Kind = "audio", *, allow_noncommercial: bool = False, **options: Any
) -> Backbone[Any]:
    """A pretrained body, ready to give states; those on torch can be tuned too (``torch_backbone.TorchBackbone``).

    Raises UnknownName if no body of this kind has this name; InputError if the weights are non-commercial and were not
    allowed, the loader takes no such option or value, or ``kind`` is neither; MissingExtra, MissingWeights or
    WeightsError if packages or files are missing or wrong.

    Parameters
    ----------
    name
        A name of ``available_backbones()``, or ``NAME:SOURCE`` with a file, a folder, or a Hugging Face id that is in
        the local cache; options may follow it: ``e5?special_tokens=false``, ``musicfm:PATH?layer=5&window_s=30``.
    kind
        ``audio`` or ``text``: some names are both.
    allow_noncommercial
        Must be True for weights that may not be used commercially.
    **options
        What the loader takes, such as ``device``, ``window_s`` or ``max_tokens``.
    """
    if kind not in ("audio", "text"):
        raise InputError(f"a backbone hears 'audio' or reads 'text', got kind {kind!r}.")
    known = _entries(kind)
    entries = known if registry.parse(name)[0] in known else _entries(kind, installed=True)
    backbone: Backbone[Any] = registry.load_entry(f"{kind} backbone", name, entries, allow_noncommercial, options)
    return backbone


def built_in(kind: str, name: str) -> registry.ModelEntry:
    """An entry of the table."""
    return registry.entry_of(f"{kind} backbone", name, _table()[kind][name])


def _entries(kind: str, *, installed: bool = False) -> dict[str, registry.ModelEntry]:
    made = {name: built_in(kind, name) for name in _table()[kind]}
    return {**(registry.installed(f"{kind} backbone") if installed else {}), **made}


@cache
def _table() -> dict[str, Any]:
    return table_of("solfa.encoders", "backbones.toml")


def pack_states(rows: Sequence[FloatArray], dim: int, pooled: Sequence[FloatArray] | None = None) -> States:
    """Rows of each item (each [shape=(T, D)], any T, 0 too) as ``States``; the mean of the rows where nothing pools."""
    longest = max((len(row) for row in rows), default=0)
    states = np.zeros((len(rows), longest, dim), np.float32)
    mask = np.zeros((len(rows), longest), np.bool_)
    means = np.zeros((len(rows), dim), np.float32)
    for i, row in enumerate(rows):
        states[i, : len(row)], mask[i, : len(row)] = row, True
        if pooled is not None:
            means[i] = pooled[i]
        elif len(row):
            means[i] = row.mean(axis=0, dtype=np.float64)
    return States(pooled_BD=means, states_BTD=states, mask_BT=mask)
