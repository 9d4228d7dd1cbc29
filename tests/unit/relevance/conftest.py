"""What tests on a collection of tones share."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.tiny import tiny_model
from solfa.collection import Collection


@pytest.fixture
def shelf(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Collection]:
    """A copy of the collection ``kept`` of the test's module, searched with the tiny model."""
    for module in ("solfa.api", "solfa.encoders.registry"):
        monkeypatch.setattr(f"{module}.load_model", lambda *_, **__: tiny_model())
    with Collection.open(shutil.copytree(kept, tmp_path / "shelf")) as opened:
        yield opened
