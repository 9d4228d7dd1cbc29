"""A collection of tones behind the application, searched with the tiny model."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from fakes.files import write_audio
from fakes.tiny import tiny_model
from solfa.collection import Collection
from solfa.core.types import FloatArray
from solfa.serve.app import create_app
from solfa.serve.engine import ServeSettings
from solfa.serve.security import Access

RATE = 16_000
TONES = {"low.wav": 110.0, "middle.flac": 440.0, "high.ogg": 2000.0, "bright.aiff": 5000.0}


def sine(hz: float, seconds: float) -> FloatArray:
    """A tone that grows louder."""
    time_s = np.arange(round(RATE * seconds)) / RATE
    return (0.8 * time_s / seconds * np.sin(2 * np.pi * hz * time_s)).astype(np.float32)


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``music`` and its ``collection``; copy it, leave it as it is."""
    place = tmp_path_factory.mktemp("kept")
    (place / "music").mkdir()
    for name, hz in TONES.items():
        write_audio(place / "music" / name, sine(hz, 8.0), RATE)
    stereo = np.stack([level * sine(300.0, 3.0) for level in (0.8, 0.2)], axis=1)
    write_audio(place / "music" / "stereo.m4a", stereo, RATE)
    (place / "music" / "broken.mp3").write_bytes(b"this is not music")
    with Collection.open(place / "collection", create=True) as collection:
        collection.add([place / "music"], model=tiny_model)
    return place


@pytest.fixture
def settings(kept: Path, monkeypatch: pytest.MonkeyPatch) -> ServeSettings:
    """Serves the kept collection, which is not written to."""
    for module in ("solfa.api", "solfa.encoders.registry", "solfa.serve.engine"):
        monkeypatch.setattr(f"{module}.load_model", lambda *_, **__: tiny_model())
    monkeypatch.setattr("solfa.serve.engine.Engine.index", lambda *_: None)
    return ServeSettings(collection=kept / "collection", folders=(kept / "music",))


@pytest.fixture
def client(settings: ServeSettings) -> Iterator[TestClient]:
    """A client of the application on this machine, where nobody needs a secret."""
    with TestClient(create_app(settings, Access({})), base_url="http://127.0.0.1:4333") as client:
        yield client


@pytest.fixture
def own(settings: ServeSettings, tmp_path: Path, kept: Path) -> ServeSettings:
    """The settings for a copy of everything, which may be changed."""
    shutil.copytree(kept / "music", tmp_path / "music")
    with Collection.open(tmp_path / "collection", create=True) as collection:
        collection.add([tmp_path / "music"], model=tiny_model)
    return ServeSettings(collection=tmp_path / "collection", folders=(tmp_path / "music",))
