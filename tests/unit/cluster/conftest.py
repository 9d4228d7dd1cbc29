"""A store with music, behind a proxy whose faults the tests choose."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fakes.s3 import ENVIRONMENT, Faults, faulty, s3_server


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
