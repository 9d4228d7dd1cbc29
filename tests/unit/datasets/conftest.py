from collections.abc import Callable
from pathlib import Path

import pytest
from toy import Make

from solfa.datasets.building import build
from solfa.datasets.shards import Dataset


@pytest.fixture
def make_toy(tmp_path: Path) -> Callable[..., Dataset]:
    """Builds a small data set: a function of (name of the folder, shards, fields of ``Make``)."""

    def made(folder: str = "set", shards: int = 3, **fields: object) -> Dataset:
        num_shards = {"train": shards, "test": 1}
        return build(tmp_path / folder, Make(**fields), name="toy", config={}, seed=0, num_shards=num_shards)  # type: ignore[arg-type]

    return made
