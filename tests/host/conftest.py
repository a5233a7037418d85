"""Fixtures for the host process."""

from collections.abc import Iterator

import pytest

from tests.host.icy import IcyMachine
from tests.host.machine import Machine
from tests.host.warm import WarmMachine


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


@pytest.fixture
def idle() -> Iterator[WarmMachine]:
    """A machine with devices and a pool, and no worker yet."""
    with WarmMachine() as made:
        yield made


@pytest.fixture
def warm(idle: WarmMachine) -> WarmMachine:
    """The same with a worker."""
    idle.start_worker()
    return idle


@pytest.fixture
def still() -> Iterator[IcyMachine]:
    """A machine that can put engines on disk, and no worker yet."""
    with IcyMachine() as made:
        yield made


@pytest.fixture
def icy(still: IcyMachine) -> IcyMachine:
    """The same with a worker."""
    still.start_worker()
    return still
