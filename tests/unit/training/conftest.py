"""What the tests of training share: data made once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # the nets are tiny
from small import BANK, Hear, Read, make_data  # noqa: E402

from solfa.core.types import Features  # noqa: E402
from solfa.models.joint import JointConfig, JointProjector, TowerConfig  # noqa: E402
from solfa.models.projectors import TransformerConfig  # noqa: E402
from solfa.training.batches import TrainingData, prepare  # noqa: E402
from solfa.training.recipes import Recipe, figma, finelap, united  # noqa: E402


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("notes") / "data"
    make_data(path)
    return path


@pytest.fixture(scope="session")
def data(folder: Path) -> TrainingData:
    from solfa.data.shards import Dataset

    return prepare(Dataset.open(folder), folder / "features", audio=Hear(), text=Read(), phrases=True, bank=BANK)


def tiny(name: str, data: TrainingData, dropout: float = 0.1, **changes: object) -> Recipe:
    """A recipe of a few thousand parameters."""
    recipe = {"figma": figma, "finelap": finelap, "united": united}[name](data.widths, small=True)
    layer = TransformerConfig(in_dim=16, width=32, num_heads=2, feed_forward=32, out_dim=16, dropout=dropout)
    tower = TowerConfig(whole=layer, shared=True)
    model = recipe.model if name == "finelap" else JointConfig(audio=tower, text=tower)
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
