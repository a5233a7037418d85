"""One gateway for all tests here that only publish routes of their own; those that kill something start another."""

from collections.abc import Iterator

import pytest

from tests.gateway.stack import Gateway


@pytest.fixture(scope="session")
def gateway() -> Iterator[Gateway]:
    """A running gateway. Each test declares endpoints under names of its own."""
    running = Gateway()
    try:
        running.start()
        yield running
    finally:
        running.stop()


@pytest.fixture
def own_gateway() -> Iterator[Gateway]:
    """A running gateway of this test alone."""
    running = Gateway()
    try:
        running.start()
        yield running
    finally:
        running.stop()
