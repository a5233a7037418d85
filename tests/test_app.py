"""What the server does before it serves."""

import socket

import pytest

from fleetform import app
from fleetform.errors import SetupError
from fleetform.settings import load
from tests.harness.ports import free_ports


def test_metrics_are_there_without_being_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    (port,) = free_ports(1)
    monkeypatch.setattr(app, "METRICS_PORT", port)
    found = app.metrics_socket(load({}))
    assert found is not None
    with found:
        assert found.getsockname() == ("127.0.0.1", port)


def test_whoever_has_the_usual_port_of_metrics_does_not_keep_the_server_from_serving(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as theirs:
        monkeypatch.setattr(app, "METRICS_PORT", theirs.getsockname()[1])
        assert app.metrics_socket(load({})) is None


@pytest.mark.parametrize("variable", ["FLEETFORM_METRICS_PORT", "FLEETFORM_API_PORT"])
def test_a_port_that_is_asked_for_and_taken_is_told_with_its_variable(variable: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as theirs:
        settings = load({variable: str(theirs.getsockname()[1])})
        with pytest.raises(SetupError, match=f"set {variable} to a free port"):
            if variable == "FLEETFORM_API_PORT":
                app.bound("127.0.0.1", settings.api_port, variable)
            else:
                app.metrics_socket(settings)
