"""A session at the command line against the real control API and a real database."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import anyio
import anyio.from_thread
import anyio.to_thread
import httpx2
import pytest
from click.testing import CliRunner, Result

from fleetform.cli import COMMANDS, words_of
from fleetform.cli.lazy import program
from tests.control_api import Api, control_api

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]
Typed = Callable[..., Awaitable[Result]]


@pytest.fixture
async def type_(store: str, tmp_path: Path) -> AsyncIterator[Typed]:
    """Types words at a shell whose API is the real one; the exit status must be `status`."""
    async with control_api(tmp_path) as api:

        async def run(*words: str, status: int = 0) -> Result:
            result = await anyio.to_thread.run_sync(_run, api, words)
            assert result.exit_code == status, (result.output, result.exception)
            return result

        yield run


def _run(api: Api, words: tuple[str, ...]) -> Result:
    """The command in a thread of its own; its requests are made on the loop that the API and its database live on."""

    async def forward(request: httpx2.Request) -> httpx2.Response:
        answer = await api.client.request(request.method, request.url, headers=request.headers, content=request.content)
        return httpx2.Response(answer.status_code, headers=answer.headers, content=answer.content)

    http = httpx2.Client(transport=httpx2.MockTransport(lambda request: anyio.from_thread.run(forward, request)))
    variables = {"FLEETFORM_BASE_URL": "http://api.test", "FLEETFORM_TOKEN": api.key, "FLEETFORM_PROJECT": "acme"}
    return CliRunner(env=variables).invoke(program(COMMANDS), words_of(list(words)), obj=http, prog_name="fleetform")


async def test_from_an_empty_region_to_a_split(type_: Typed) -> None:
    await type_("project", "create", "--name", "acme", "--artifact-prefix", "file:///models/")
    await type_("quota", "set", "--instance-type", "cpu-small", "--max-replicas", "8")
    for version in ("v1.4", "v1.5"):
        words = ["model", "register", "--name", "acme-summarizer", "--version", version, "--artifact", f"file:///models/{version}/"]
        assert "Verifying" in (await type_(*words, "--framework", "pytorch", "--runtime", "cpu")).stdout
    create = ["endpoint", "create", "--name", "prod", "--model", "acme-summarizer:v1.4", "--instance-type", "cpu-small", "--timeout", "30s"]
    await type_(*create, "--min-replicas", "2")
    assert "exists" in (await type_(*create, status=1)).stderr
    await type_("endpoint", "update", "--name", "prod", "--traffic-split", "v1.4=90,v1.5=10")
    await type_("inference", "endpoint", "update", "--name", "prod", "--target-concurrency", "6")
    endpoint = json.loads((await type_("endpoint", "get", "prod", "--output", "json")).stdout)
    assert {name: v["weight"] for name, v in endpoint["spec"]["variants"].items()} == {"v1.4": 90, "v1.5": 10}
    assert endpoint["spec"]["scaling"] == {"min_replicas": 2, "target_concurrency": 6}
    assert endpoint["spec"]["request_timeout_s"] == 30
    assert "v1.4=90,v1.5=10" in (await type_("endpoint", "list")).stdout
    assert "prod=2" in (await type_("quota", "list")).stdout
    assert "Created" in (await type_("endpoint", "events", "prod")).stdout


async def test_a_key_for_an_application(type_: Typed) -> None:
    await type_("project", "create", "--name", "acme")
    await type_("token", "create", "--name", "rag-app", "--role", "inference.invoker", "--ttl", "30d")
    assert (await type_("token", "mint", "rag-app")).stdout.startswith("cd-")
    await type_("token", "revoke", "rag-app", "--all")
    assert "\t0\t" in (await type_("token", "list")).stdout


async def test_refusals_name_options_and_remedies(type_: Typed) -> None:
    await type_("project", "create", "--name", "acme")
    words = ["endpoint", "create", "--name", "prod", "--model", "m:v1", "--instance-type", "cpu-small"]
    wrong = (await type_(*words, "--min-replicas", "5", "--max-replicas", "2", status=1)).stderr
    assert "--max-replicas: " in wrong
    assert "--type: " in (await type_(*words, "--type", "batch", status=1)).stderr
    assert "--name: " in (await type_("project", "create", "--name", "../acme", status=1)).stderr
    assert "--ttl" in (await type_("token", "create", "--name", "t", "--role", "inference.invoker", "--ttl", "400d", status=1)).stderr
    assert "list` verb" in (await type_("endpoint", "get", "nothing", status=1)).stderr
