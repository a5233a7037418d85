"""The children of a machine's supervisor, by their records."""

from pathlib import Path

from fleetform.host import children, processes
from fleetform.host.processes import Identity
from tests.harness.waiting import until
from tests.host.machine import Machine

SLEEP = ["/bin/sleep", "600"]


def running(machine: Machine, name: str) -> Identity:
    """The process of a child, once it is the program that was asked for."""
    return until(f"{name} runs", lambda: other(machine, name, None))


def other(machine: Machine, name: str, old: Identity | None) -> Identity | None:
    identity = children.recorded_identity(record(machine, name))
    if identity is None or identity == old or not processes.alive(identity):
        return None
    return None if b"gate.py" in Path(f"/proc/{identity.pid}/cmdline").read_bytes() else identity


def record(machine: Machine, name: str) -> Path:
    return machine.settings.home / "host" / "running" / f"{name}.json"
