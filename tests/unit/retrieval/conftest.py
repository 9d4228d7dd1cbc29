from pathlib import Path

import pytest

from fakes.given_tracks import write_collection, write_tracks


@pytest.fixture(scope="session")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("music")
    write_tracks(folder)
    return folder


@pytest.fixture(scope="session")
def directory(music: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_collection(music, tmp_path_factory.mktemp("collection"))
