"""The whole way with real parts: Terraform → provider → control API → reconciler → host → vLLM → Envoy → OpenAI SDK.

One stack and its engines serve every test of this file, in order: starting vLLM is what costs time here.
"""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest
from openai import OpenAI

from fleetform.host import postgres
from fleetform.settings import load
from tests.clients.conformance import CHECKS, Served
from tests.e2e.configuration import PROJECT, configuration
from tests.engines.tiny_models import write_tiny_chat_model, write_tiny_embedding_model
from tests.harness.load import Load
from tests.harness.stack import Stack
from tests.harness.terraform import Terraform
from tests.harness.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.terraform, pytest.mark.timeout(1500)]
START_S = 900


class World:
    """The stack, its Terraform folder, and the key that the apply handed over."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.models = stack.home / "models"
        self.key_file = stack.home / "app.key"
        self.terraform = Terraform(stack.home / "terraform", stack.environment)
        self.rows_at_first = asyncio.run(_counts(self))

    def configure(self, version: str, *, embeddings: bool = True) -> None:
        self.terraform.write(configuration(self.models, self.key_file, version, embeddings=embeddings))

    @property
    def key(self) -> str:
        return self.key_file.read_text()

    @property
    def client(self) -> OpenAI:
        return OpenAI(base_url=self.terraform.outputs()["base_url"], api_key=self.key, max_retries=0, timeout=120)

    def engines(self) -> dict[int, int]:
        """pid → start time in ticks of every process of every engine: the leaders and all of their sessions."""
        leaders = set(self.stack.processes("vllm.entrypoints"))
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) in leaders and fields[0] != "Z":
                found[int(folder.name)] = int(fields[19])
        return found


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with Stack({"FLEETFORM_ZYGOTE": "on"}) as stack:
        world = World(stack)
        for seed, version in enumerate(("v1", "v2")):
            write_tiny_chat_model(world.models / f"chat-{version}", seed=seed)
        write_tiny_embedding_model(world.models / "embed")
        world.configure("v1")
        world.terraform.apply(timeout_s=START_S)
        yield world


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_an_openai_client_finds_what_it_relies_on(world: World, check: Callable[[Served], None]) -> None:
    base_url = world.terraform.outputs()["base_url"]
    check(Served(base_url=base_url, api_key=world.key, project=PROJECT, model="chat", embedding_model="embed"))


def test_a_second_plan_is_empty(world: World) -> None:
    assert world.terraform.plan_is_empty()


@pytest.mark.parametrize(
    "words",
    [("fleetform server",), ("fleetform host worker",), ("fleetform host supervisor",), ("fleetform host",)],
    ids=["server", "worker", "supervisor", "both halves of the host process"],
)
def test_a_killed_process_changes_nothing_for_traffic_and_restarts_no_engine(world: World, words: tuple[str, ...]) -> None:
    before = world.engines()
    assert before
    with Load(world.client, "chat", workers=2) as load:
        load.answer_at_least(2)
        world.stack.kill(*words)
        load.answer_at_least(6)
        world.stack.up()
        until("everything runs again", lambda: all(world.stack.processes(f"fleetform {name}") for name in ("server", "host worker")))
        load.answer_at_least(4)
        assert load.lost == []
    until("the endpoint is ready again", lambda: _ready(world), timeout_s=60)
    assert world.engines() == before
    assert world.terraform.plan_is_empty()


def test_a_changed_version_moves_traffic_without_a_lost_request(world: World) -> None:
    before = set(world.engines())
    with Load(world.client, "chat", workers=3) as load:
        load.answer_at_least(3)
        world.configure("v2")
        world.terraform.apply(timeout_s=START_S)
        load.answer_at_least(5)
        until("the old engine is gone", lambda: before - set(world.engines()), timeout_s=120)
        load.answer_at_least(5)
    assert load.lost == []
    live = world.stack.answer("endpoint", "get", "chat", "--project", PROJECT)["status"]["live"]
    assert live["variants"]["main"]["model_version"] == "tiny-chat:v2"
    assert world.terraform.plan_is_empty()


def test_no_secret_stands_anywhere(world: World) -> None:
    secrets = {world.key.rpartition(".")[2], world.stack.environment["FLEETFORM_TOKEN"].rpartition(".")[2]}
    world.terraform.run("plan", "-no-color", "-input=false", "-replace=terraform_data.key", "-out=saved.tfplan")
    texts = {
        "state": world.terraform.run("show", "-json"),
        "plan": world.terraform.run("show", "-json", "saved.tfplan"),
        "terraform output": "\n".join(world.terraform.output),
        "rows": "\n".join(row for table in world.rows_at_first for row in _rows(world, table)),
    }
    for path in [*world.stack.home.glob("terraform/*tfstate*"), *world.stack.home.glob("**/*.log"), *world.stack.home.glob("host/**/*")]:
        if path.is_file():
            texts[str(path)] = path.read_text(errors="replace")
    assert len(texts) > 6
    for where, text in texts.items():
        for secret in secrets:
            assert secret not in text, where
        assert "Say one word" not in text, where


def test_destroy_leaves_nothing_but_history(world: World) -> None:
    world.terraform.destroy(timeout_s=300)
    assert world.engines() == {}
    assert list(world.stack.run.glob("r-*")) == []
    history = {"event", "endpoint", "model_version", "credential", "lease", "host", "change"}
    rows = asyncio.run(_counts(world))
    assert {table: count for table, count in rows.items() if table not in history} == {
        table: count for table, count in world.rows_at_first.items() if table not in history
    }
    # A revoked key is remembered until it would have expired: the gateways must go on refusing it.
    assert len(_rows(world, "credential", "revoked_at IS NULL")) == 1
    assert _rows(world, "endpoint", "deleted_at IS NULL") + _rows(world, "model_version", "deleted_at IS NULL") == []


def _ready(world: World) -> bool:
    return bool(world.stack.answer("endpoint", "get", "chat", "--project", PROJECT)["status"]["ready"])


def _url(world: World) -> str:
    return postgres.url(load(world.stack.variables))


def _rows(world: World, table: str, where: str = "true") -> list[str]:
    """The rows of table as text."""

    async def read() -> list[str]:
        connection = await asyncpg.connect(_url(world))
        try:
            return [row["row"] for row in await connection.fetch(f'SELECT t::text AS row FROM "{table}" t WHERE {where}')]
        finally:
            await connection.close()

    return asyncio.run(read())


async def _counts(world: World) -> dict[str, int]:
    connection = await asyncpg.connect(_url(world))
    try:
        tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return {t["tablename"]: await connection.fetchval(f'SELECT count(*) FROM "{t["tablename"]}"') for t in tables}
    finally:
        await connection.close()
