"""What the rows share: one stack with stub engines, a control API, a cache with a bucket, and machines that can be broken."""

from collections.abc import Iterator

import pytest

from tests.e2e.shop import Shop
from tests.gateway.conftest import own_gateway
from tests.harness.stack import Stack
from tests.host.artifacts.conftest import aws, bucket, cache
from tests.host.conftest import machine, worker
from tests.routes.conftest import api

__all__ = ["api", "aws", "bucket", "cache", "machine", "own_gateway", "worker"]


@pytest.fixture(scope="session")
def shop() -> Iterator[Shop]:
    """A project on a whole stack, with two versions that serve. Rows leave it as they found it, with their endpoints deleted."""
    with Stack() as stack:
        made = Shop(stack)
        made.register("v1")
        made.register("v2")
        yield made
