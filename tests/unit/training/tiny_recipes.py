"""What the tests of training share: small recipes, and what a model makes of a split."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # the nets are tiny

from solfa.alignment.joint import JointConfig, JointProjector, TowerConfig  # noqa: E402
from solfa.alignment.projectors import MlpConfig, TransformerConfig  # noqa: E402
from solfa.core.types import Features  # noqa: E402
from solfa.training.batches import TrainingData  # noqa: E402
from solfa.training.recipes import Recipe, figma, finelap, united  # noqa: E402


def tiny(name: str, data: TrainingData, dropout: float = 0.1, **changes: object) -> Recipe:
    """A recipe of a few thousand parameters."""
    recipe = {"figma": figma, "finelap": finelap, "united": united}[name](data.audio.dim, data.text.dim, small=True)
    layer = TransformerConfig(in_dim=16, width=32, num_heads=2, feed_forward=32, out_dim=16, dropout=dropout)
    tower = TowerConfig(whole=layer, shared=True)
    model = JointConfig(audio=tower, text=tower)
    if name == "finelap":
        pooled = MlpConfig(in_dim=16, hidden=64, out_dim=64)
        rows = replace(layer, width=64, feed_forward=256, out_dim=None, activation="relu", num_heads=8)
        model = JointConfig(audio=TowerConfig(whole=pooled, rows=rows), text=TowerConfig(whole=pooled))
    small = {"batch_size": 16, "warmup_steps": 5, "learning_rate": 3e-3, "epochs": 2, "patience": None, **changes}
    return replace(recipe, model=model, num_phrases=min(recipe.num_phrases, 4), **small)  # type: ignore[arg-type]


@torch.no_grad()
def features_of(model: JointProjector, given) -> tuple[Features, Features]:
    """What training makes of every clip of a split and of each clip's first caption."""
    model.eval()

    def project(tower, states) -> Features:
        pooled, rows = (torch.from_numpy(x).float() for x in (states.pooled_BD, states.states_BTD))
        mask, whole = torch.from_numpy(states.mask_BT), tower.pooled(pooled)
        vectors = tower.rows(rows, mask) if tower.has_rows else whole[:, None]
        return Features(whole.numpy(), vectors.numpy(), (mask if tower.has_rows else mask[:, :1]).numpy())

    audio = project(model.audio, given.audio(np.arange(len(given))))
    return audio, project(model.text, given.texts([own[0] for own in given.captions]))
