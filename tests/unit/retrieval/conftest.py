from pathlib import Path

import pytest

from fakes.given_tracks import TRACKS, extractors, write_tracks
from fakes.tiny import tiny_model
from solfa.collection import Collection


@pytest.fixture(scope="session")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("music")
    write_tracks(folder)
    return folder


@pytest.fixture(scope="session")
def directory(music: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("collection")
    with Collection.open(directory, create=True) as collection:
        report = collection.add([music], model=tiny_model, extractors=extractors)
    assert report.added == len(TRACKS) and not report.failed
    return directory
