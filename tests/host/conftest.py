"""Fixtures for the host process."""

import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.processes import end
from tests.harness.farewells import Pair
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


@pytest.fixture
def pair() -> Iterator[Pair]:
    """An engine and who keeps the last events of its streams, neither of them started."""
    with tempfile.TemporaryDirectory(prefix="ff-fw-") as folder:
        made = Pair(Path(folder))
        try:
            yield made
        finally:
            for process in made.processes:
                process.send_signal(signal.SIGCONT)
                end(process, signal.SIGKILL)
