"""Typing commands against a scripted control API."""

import httpx2
import pytest
from click.testing import CliRunner, Result

from fleetform.cli import COMMANDS, words_of
from fleetform.cli.lazy import program
from tests.sdk.fake_api import BASE_URL, TOKEN, FakeApi


class Shell:
    """A shell with the variables of `.fleetform/env`, and an API to talk to."""

    def __init__(self, api: FakeApi) -> None:
        self.api = api
        self.variables: dict[str, str | None] = {"FLEETFORM_BASE_URL": BASE_URL, "FLEETFORM_TOKEN": TOKEN, "FLEETFORM_PROJECT": "acme"}

    def __call__(self, *words: str, status: int = 0) -> Result:
        """Type `fleetform words…`; AssertionError unless it ends with status."""
        http = httpx2.Client(transport=httpx2.MockTransport(self.api.handle))
        result = CliRunner(env=self.variables).invoke(program(COMMANDS), words_of(list(words)), obj=http, prog_name="fleetform")
        assert result.exit_code == status, (result.output, result.exception)
        return result


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    """An API that knows nothing yet; whoever waits for it does not really sleep."""
    api = FakeApi()
    monkeypatch.setattr("time.sleep", api.slept.append)
    return api


@pytest.fixture
def shell(api: FakeApi) -> Shell:
    return Shell(api)
