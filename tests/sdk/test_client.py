"""Making clients: from arguments, from the environment, from other clients."""

import subprocess
import sys
from typing import Any

import httpx2
import pytest
from rich.pretty import pretty_repr

import fleetform_sdk as sdk
from tests.sdk import bodies
from tests.sdk.fake_api import TOKEN, FakeApi


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FLEETFORM_BASE_URL", "FLEETFORM_TOKEN", "FLEETFORM_PROJECT"):
        monkeypatch.delenv(name, raising=False)


def test_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETFORM_BASE_URL", "https://api.example.com/")
    monkeypatch.setenv("FLEETFORM_TOKEN", TOKEN)
    monkeypatch.setenv("FLEETFORM_PROJECT", "acme")
    with sdk.Client() as client:
        assert (client.base_url, client.project) == ("https://api.example.com", "acme")


@pytest.mark.parametrize(
    ("arguments", "variable"),
    [
        ({}, "FLEETFORM_BASE_URL"),
        ({"base_url": "http://api.test"}, "FLEETFORM_TOKEN"),
        ({"base_url": "api.test", "token": TOKEN}, "http://"),
        ({"base_url": "http://api.test", "token": "cd-with\nnewline"}, "copied in full"),
        *(
            ({"base_url": url, "token": TOKEN}, "FLEETFORM_BASE_URL")
            for url in (
                *(
                    "http://api.test:port",
                    "http://[::1",
                    "http://",
                    "http://../",
                    "http://a\nb",
                    "http://\udcff",
                    f"http://{'a' * 64}.test",
                ),
                *("http://user:word@api.test", "http://api.test?a=b", "http://api.test#a"),
            )
        ),
    ],
)
def test_what_is_missing_is_named(arguments: dict[str, Any], variable: str) -> None:
    with pytest.raises(sdk.ConfigurationError, match=variable) as caught:
        sdk.Client(**arguments)
    assert "cd-" not in str(caught.value)


def test_a_call_without_a_project_sends_nothing() -> None:
    api = FakeApi()
    http = httpx2.Client(transport=httpx2.MockTransport(api.handle))
    with (
        sdk.Client(TOKEN, base_url="http://api.test", http_client=http) as client,
        pytest.raises(sdk.ConfigurationError, match="FLEETFORM_PROJECT"),
    ):
        client.endpoints.get("prod")
    assert api.requests == []


def test_a_method_may_name_another_project() -> None:
    api = FakeApi().on("GET", "/v1/projects/other/endpoints/prod", (200, bodies.endpoint()))
    api.client().endpoints.get("prod", project="other")


def test_with_options_shares_connections_and_changes_nothing_else() -> None:
    api = FakeApi().on("GET", "/v1/projects/other/endpoints/prod", (200, bodies.endpoint()))
    client = api.client(default_headers={"x-team": "a"})
    other = client.with_options(project="other", timeout="5s", max_retries=0, default_headers={"x-trace": "b"})
    other.close()
    other.endpoints.get("prod")
    sent = api.requests[0]
    assert (sent.headers["x-team"], sent.headers["x-trace"]) == ("a", "b")
    assert sent.extensions["timeout"]["read"] == 5.0
    assert client.project == "acme"


def test_only_its_own_connections_are_closed() -> None:
    mine = httpx2.Client(transport=httpx2.MockTransport(FakeApi().handle))
    with sdk.Client(TOKEN, base_url="http://api.test", http_client=mine):
        pass
    assert not mine.is_closed
    with sdk.Client(TOKEN, base_url="http://api.test") as own:
        http = own._transport.http
    assert http.is_closed


@pytest.mark.anyio
async def test_the_asynchronous_client_closes_too() -> None:
    async with sdk.AsyncClient(TOKEN, base_url="http://api.test") as client:
        http = client._transport.http
        assert TOKEN not in repr(client)
    assert http.is_closed


def test_a_credential_hides_its_secret() -> None:
    api = FakeApi().on("POST", "/v1/projects/acme/tokens/rag-app/credentials", (201, bodies.credential()))
    credential = api.client().tokens.mint("rag-app")
    assert credential.secret == "cd-minted"
    for shown in (repr(credential), str(credential), f"{credential}", repr([credential]), pretty_repr(credential)):
        assert "cd-minted" not in shown
        assert "0123456789abcdef" in shown


def test_openai_arguments() -> None:
    api = FakeApi().on("GET", "/v1/projects/acme/endpoints/prod", (200, bodies.endpoint()))
    assert api.client().endpoints.openai("prod", "cd-key") == {"base_url": "http://127.0.0.1:7080/v1", "api_key": "cd-key"}


def test_importing_does_nothing() -> None:
    code = """
import sys, threading
import fleetform_sdk
assert threading.active_count() == 1
assert not {"fleetform", "openai", "click"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, env={"PATH": ""}, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
