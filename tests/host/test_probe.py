"""Who listens on an engine's port: the engine alone, or nobody is trusted."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from fleetform.domain.replica import Loopback
from fleetform.host import probe, processes
from fleetform.host.processes import Identity

SHARE = """
import signal, socket, sys
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.listen()
print("up", flush=True)
signal.pause()
"""


@pytest.fixture
def me() -> Identity:
    found = processes.identify(os.getpid())
    assert found is not None
    return found


@pytest.fixture(params=[("127.0.0.1", socket.AF_INET), ("0.0.0.0", socket.AF_INET), ("::", socket.AF_INET6)])
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    """A port that we listen on, at addresses that take what comes to 127.0.0.1."""
    address, family = request.param
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((address, 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_the_member_that_listens_is_found(port: int, me: Identity) -> None:
    assert probe.listener(Loopback(port=port), [me]) == me.pid
    assert probe.listener(Loopback(port=port), []) is None
    assert probe.listener(Loopback(port=1), [me]) is None


@pytest.mark.parametrize("port", [("127.0.0.1", socket.AF_INET)], indirect=True)
def test_a_port_that_a_stranger_shares_is_nobodys(port: int, me: Identity) -> None:
    """The kernel shares out what comes, so the engine's proof would say nothing of who answers next."""
    with subprocess.Popen([sys.executable, "-S", "-c", SHARE, str(port)], stdout=subprocess.PIPE, text=True) as stranger:
        try:
            assert stranger.stdout is not None
            assert stranger.stdout.readline() == "up\n"
            both = processes.identify(stranger.pid)
            assert both is not None
            assert probe.listener(Loopback(port=port), [me]) is None
            assert probe.listener(Loopback(port=port), [me, both]) in (me.pid, both.pid)
        finally:
            stranger.kill()
