"""The zygote as part of a whole Fleetform: it is started once everything serves, comes back when killed, and ends with the rest."""

import os
import signal

import pytest

from fleetform.host import processes
from fleetform.host.children import recorded_identity
from fleetform.host.processes import Identity
from tests.harness.stack import Stack
from tests.harness.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]


def test_the_zygote_lives_and_dies_with_the_others() -> None:
    with Stack({"FLEETFORM_ZYGOTE": "on"}) as stack:
        first = listening(stack)

        os.kill(first.pid, signal.SIGKILL)
        until("another zygote runs", lambda: (found := running(stack)) is not None and found != first)
        second = listening(stack)

        stack.kill("host supervisor")
        until("the supervisor is back", lambda: stack.processes("host supervisor"), timeout_s=30)
        assert processes.alive(second)

        stack.up()
        assert running(stack) == second, "an unchanged zygote is left alone"

        stack.variables["FLEETFORM_ZYGOTE"] = "off"
        stack.up()
        until("no zygote runs", lambda: running(stack) is None)
        assert not processes.alive(second)

        stack.variables["FLEETFORM_ZYGOTE"] = "on"
        stack.up()
        third = until("a zygote runs", lambda: running(stack))
        stack.fleetform("down")
        assert not processes.alive(third)
        assert stack.processes("zygote") == {}


def running(stack: Stack) -> Identity | None:
    found = recorded_identity(stack.home / "host" / "running" / "zygote.json")
    return found if found is not None and processes.alive(found) else None


def listening(stack: Stack) -> Identity:
    """The zygote, once it has imported everything."""
    log = stack.home / "logs" / "zygote.log"

    def ready() -> Identity | None:
        found = running(stack)
        said = log.read_text() if log.exists() else ""
        return found if found is not None and f"zygote {found.pid}: ready" in said else None

    return until("the zygote listens", ready, timeout_s=200)
