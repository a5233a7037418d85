"""One gateway for all tests here that only publish routes of their own; those that kill something start another."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.gateway.engines import EchoEngine
from tests.gateway.stack import Gateway


@pytest.fixture(scope="session")
def gateway() -> Iterator[Gateway]:
    """A running gateway. Each test declares endpoints under names of its own."""
    with Gateway() as running:
        yield running


@pytest.fixture
def own_gateway() -> Iterator[Gateway]:
    """A running gateway of this test alone."""
    with Gateway() as running:
        yield running


@pytest.fixture(scope="module")
def held_engine(gateway: Gateway) -> Iterator[EchoEngine]:
    """An engine, `held-engine`, for what was held to be brought to."""
    found = gateway.echo("held-engine")
    yield found
    gateway.run(found.stop())


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Clients that ask at the same time, up to 320 of them."""
    with ThreadPoolExecutor(320) as made:
        yield made
