"""A store with music, behind a proxy whose faults the tests choose; and a collection of a few tracks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile

from fakes.given_tracks import RATE, extractors, sound, write_tracks
from fakes.s3 import ENVIRONMENT, Faults, faulty, s3_server
from fakes.tiny import tiny_model
from solfa.collection import Collection
from solfa.collection.feedback import Sought, TrackVerdict


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    with s3_server() as url:
        yield url


@pytest.fixture
def faults(moto: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    import boto3
    import fsspec

    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    with faulty(moto) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        boto3.client("s3", endpoint_url=moto).create_bucket(Bucket="music")
        yield proxy
    bucket = boto3.resource("s3", endpoint_url=moto).Bucket("music")
    bucket.objects.all().delete()
    bucket.delete()
    fsspec.get_filesystem_class("s3").clear_instance_cache()


@pytest.fixture(scope="session")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("music")
    write_tracks(folder)
    (folder / "broken.wav").write_bytes(b"RIFF")
    return folder


@pytest.fixture(scope="session")
def shelf(music: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection with a failed file, a file that is gone, a copy, and verdicts of which the last was taken back."""
    directory = tmp_path_factory.mktemp("collection")
    (music / "copy.wav").write_bytes((music / "right.wav").read_bytes())
    gone = music / "gone.wav"
    soundfile.write(gone, sound("low", 7), RATE)
    with Collection.open(directory, create=True) as collection:
        collection.add([music], model=tiny_model, extractors=extractors)
        gone.unlink()
        collection.add([music], model=tiny_model, extractors=extractors)
        said = [TrackVerdict(track_id=i, is_good=True, sought=Sought(query="low"), space="tiny/1/32", time_s=1.5 * i)
                for i in (1, 2)]  # fmt: skip
        collection.change_verdicts(said)
        collection.change_verdicts(removed=[2])
    return directory


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SOLFA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LANCE_LOG", "error")
    yield
