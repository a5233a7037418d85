"""What the server does before it serves."""

import socket

import pytest

from fleetform import app
from fleetform.settings import load
from tests.harness.ports import free_ports


def test_metrics_are_there_without_being_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    (port,) = free_ports(1)
    monkeypatch.setattr(app, "METRICS_PORT", port)
    assert app.metrics_port(load({})) == port


def test_whoever_has_the_usual_port_of_metrics_does_not_keep_the_server_from_serving(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as theirs:
        monkeypatch.setattr(app, "METRICS_PORT", theirs.getsockname()[1])
        assert app.metrics_port(load({})) is None


def test_a_port_that_is_asked_for_is_taken_as_it_is() -> None:
    assert app.metrics_port(load({"FLEETFORM_METRICS_PORT": "9999"})) == 9999
