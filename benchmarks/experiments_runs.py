"""A training run of the experiments, and what all of them are measured with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from solfa.alignment.joint import JointProjector
from solfa.core.types import Features
from solfa.datasets.features import FrozenFeatures
from solfa.training.recipes import Recipe


@dataclass(frozen=True)
class Job:
    """One training run and what it is measured by."""

    variant: str
    seed: int
    data: tuple[Path, ...]
    out: Path
    split: str
    epochs: int
    rate: float
    shards: int

    @property
    def folder(self) -> Path:
        return self.out / "runs" / f"{self.variant.replace(',', '').replace(' ', '-')}-{self.seed}"

    @property
    def result(self) -> Path:
        return self.folder / f"{self.split}.json"


def small(recipe: Recipe, job: Job) -> Recipe:
    """The small recipe at the settings of all runs here."""
    return replace(
        recipe, epochs=job.epochs, learning_rate=job.rate, warmup_steps=40, ema_decay=0.98, patience=None,
        checkpoint_every=10**6,
    )  # fmt: skip


@torch.no_grad()
def embeddings(model: JointProjector, features: FrozenFeatures, rows: np.ndarray) -> Features:
    """Projected clips."""
    states = features.audio(rows)
    mask = torch.from_numpy(states.mask_BT)
    whole = model.audio.pooled(torch.from_numpy(states.pooled_BD).float())
    frames = model.audio.rows(torch.from_numpy(states.states_BTD).float(), mask)
    return Features(whole.numpy(), frames.numpy(), states.mask_BT)


@torch.no_grad()
def read(model: JointProjector, features: FrozenFeatures, texts: Sequence[str]) -> Features:
    """Projected texts; those of like length share a batch."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    dim, parts = model.dim, []
    for at in range(0, len(order), 64):
        states = features.texts([texts[i] for i in order[at : at + 64]])
        whole = model.text.pooled(torch.from_numpy(states.pooled_BD).float())
        mask, rows = states.mask_BT, whole[:, None]
        if model.text.has_rows:
            rows = model.text.rows(torch.from_numpy(states.states_BTD).float(), torch.from_numpy(mask))
        parts.append((whole.numpy(), rows.numpy(), mask if model.text.has_rows else mask[:, :1]))
    longest = max(mask.shape[1] for _, _, mask in parts)
    found = Features(
        np.zeros((len(texts), dim), np.float32), np.zeros((len(texts), longest, dim), np.float32),
        np.zeros((len(texts), longest), np.bool_),
    )  # fmt: skip
    for at, (whole, rows, mask) in zip(range(0, len(order), 64), parts, strict=True):
        where = order[at : at + 64]
        found.global_BD[where] = whole
        found.frames_BTD[where, : rows.shape[1]], found.mask_BT[where, : mask.shape[1]] = rows, mask
    return found


def progress(done: int, total: int) -> None:
    print(f"states: {done}/{total} blocks", flush=True)
