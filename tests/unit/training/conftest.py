"""What the tests of training share: data made once."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch").set_num_threads(1)  # the nets are tiny
from small import BANK, Hear, Read, make_data  # noqa: E402

from solfa.training.batches import TrainingData, prepare  # noqa: E402


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("notes") / "data"
    make_data(path)
    return path


@pytest.fixture
def without_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run ends without its model's folder, which takes as long as a small run; ``test_model_file`` makes them."""
    monkeypatch.setattr("solfa.training.run.save_model", lambda folder, *_, **__: folder)


@pytest.fixture(scope="session")
def data(folder: Path) -> TrainingData:
    from solfa.datasets.shards import Dataset

    return prepare(Dataset.open(folder), folder / "features", audio=Hear(), text=Read(), phrases=True, bank=BANK)
