from pathlib import Path

import pytest
import soundfile

from fakes.given_tracks import RATE, TRACKS, extractors, sound
from fakes.tiny import tiny_model
from solfa.collection import Collection


@pytest.fixture(scope="session")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("music")
    for track in TRACKS:
        soundfile.write(folder / f"{track.name}.wav", sound(track.sound, track.seconds), RATE)
    return folder


@pytest.fixture(scope="session")
def directory(music: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("collection")
    with Collection.open(directory, create=True) as collection:
        report = collection.add([music], model=tiny_model, extractors=extractors)
    assert report.added == len(TRACKS) and not report.failed
    return directory
