"""A collection of tones behind the application, searched with the tiny model."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from given_server import RATE, TONES, sine
from starlette.testclient import TestClient

from fakes.files import write_audio
from fakes.tiny import tiny_model
from solfa.collection import Collection
from solfa.jobs import SerialExecutor
from solfa.serve.app import create_app
from solfa.serve.engine import Engine, ServeSettings
from solfa.serve.security import Access


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


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny model in the place of every other, and indexing in this process."""
    for name in ("solfa.api.load_model", "solfa.serve.engine.model_once", "solfa.serve.media.model_once"):
        monkeypatch.setattr(name, lambda *_, **__: tiny_model())
    monkeypatch.setattr("solfa.serve.engine.ProcessExecutor", lambda _: SerialExecutor())


@pytest.fixture
def settings(kept: Path, monkeypatch: pytest.MonkeyPatch) -> ServeSettings:
    """Serves the kept collection, which is not written to."""
    monkeypatch.setattr(Engine, "index", lambda *_: None)
    return ServeSettings(collection=kept / "collection", folders=(kept / "music",))


@pytest.fixture
def client(settings: ServeSettings) -> Iterator[TestClient]:
    """A client of the application on this machine, where nobody needs a secret."""
    with TestClient(create_app(settings, Access({})), base_url="http://127.0.0.1:4333") as client:
        yield client


@pytest.fixture
def own(tmp_path: Path, kept: Path) -> ServeSettings:
    """The settings for a copy of the music, with a collection of its own that is empty at first."""
    shutil.copytree(kept / "music", tmp_path / "music")
    return ServeSettings(collection=tmp_path / "collection", folders=(tmp_path / "music",))


@pytest.fixture
def changing(own: ServeSettings) -> Iterator[TestClient]:
    """A client of an application that has indexed its own music."""
    with TestClient(create_app(own, Access({})), base_url="http://127.0.0.1:4333") as client:
        engine: Engine = client.app.state.engine  # type: ignore[attr-defined]
        engine._run.join()
        engine._again_s = 0.0
        yield client
