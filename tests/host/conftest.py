"""Fixtures for the host process."""

from collections.abc import Iterator

import pytest

from tests.host.machine import Machine


@pytest.fixture
def machine() -> Iterator[Machine]:
    """A machine with nothing started on it."""
    with Machine() as made:
        yield made


@pytest.fixture
def worker(machine: Machine) -> Machine:
    """A machine whose worker answers."""
    machine.start_worker()
    return machine
