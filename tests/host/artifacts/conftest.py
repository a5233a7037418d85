"""A cache in a temporary folder, and buckets on loopback."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from fleetform.host.artifacts import ArtifactCache
from fleetform.host.artifacts.s3 import S3Options
from tests.host.artifacts import making, stub

IMPATIENT = S3Options(connect_timeout_s=2, stall_s=0.5, give_up_s=2, backoff_s=0.02, backoff_max_s=0.1)


@pytest.fixture
async def cache(tmp_path: Path) -> AsyncIterator[ArtifactCache]:
    made = ArtifactCache(tmp_path / "cache", layout=making.a_layout(tmp_path / "cache"), s3=IMPATIENT)
    yield made
    await made.close()


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """An environment with credentials, and nothing of the machine's own."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_CA_BUNDLE", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    return monkeypatch


@pytest.fixture
def bucket(aws: pytest.MonkeyPatch) -> Iterator[stub.Bucket]:
    with stub.serving(stub.Bucket()) as made:
        aws.setenv("AWS_ENDPOINT_URL", made.url)
        yield made
