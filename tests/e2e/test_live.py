"""A whole stack with stub engines: what users see when versions change, engines misbehave and programs die.

Everything is typed as a user types it: the command line, and the OpenAI SDK through Envoy.
"""

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import APIStatusError, AuthenticationError, NotFoundError, OpenAI

from tests.engines.tiny_models import flip_one_bit, write_tiny_chat_model
from tests.harness.load import Load
from tests.harness.stack import Stack
from tests.harness.waiting import until

pytestmark = [pytest.mark.envoy, pytest.mark.postgres, pytest.mark.timeout(300)]
STUB = Path(__file__).parents[1] / "engines" / "stub.py"
PROJECT = "acme"
ROLLOUT = ("--steps", "50,100", "--step-hold", "1s", "--bake", "1s")


class Shop:
    """A project with a quota and models whose engine is the stub."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.models = stack.home / "models"
        self.models.mkdir()
        write_tiny_chat_model(self.models / "original", seed=0)
        words = [sys.executable, "-S", str(STUB), "--socket", "{socket}", "--model-dir", "{model_dir}"]
        names = ["--served-name", "{served_name}", "--instance", "{instance}"]
        self.run("engine", "set", "--name", "stub", "--", *words, *names)
        self.run("instance-type", "set", "--name", "tiny", "--cpu-millis", "10", "--memory-mib", "64")
        self.run("project", "create", "--name", PROJECT, "--artifact-prefix", f"file://{self.models}/")
        self.run("quota", "set", "--project", PROJECT, "--instance-type", "tiny", "--max-replicas", "20")
        self.run("token", "create", "--project", PROJECT, "--name", "app", "--role", "inference.invoker")
        self.key = self.mint()

    def run(self, *words: str, fails: bool = False) -> str:
        return self.stack.fleetform(*words, fails=fails)

    def mint(self) -> str:
        return str(self.stack.answer("token", "mint", "app", "--project", PROJECT)["secret"])

    def register(self, version: str, *, fails: bool = False, **behaviour: object) -> str:
        """Register version of model `m`, whose engine behaves so; the command's output."""
        folder = self.models / version
        folder.mkdir()
        for file in (self.models / "original").iterdir():
            os.link(file, folder / file.name)
        if behaviour:
            (folder / "stub.json").write_text(json.dumps(behaviour))
        return self.register_folder(version, fails=fails)

    def register_folder(self, version: str, *, fails: bool = False) -> str:
        source = ("--artifact", f"file://{self.models}/{version}/", "--framework", "pytorch", "--runtime", "cpu")
        name = ("--project", PROJECT, "--name", "m", "--version", version)
        return self.run("model", "register", *name, *source, "--engine", "stub", "--wait", fails=fails)

    def create(self, name: str, version: str, *more: str, fails: bool = False) -> str:
        where = ("--project", PROJECT, "--name", name, "--model", f"m:{version}", "--instance-type", "tiny")
        return self.run("endpoint", "create", *where, *ROLLOUT, "--wait", *more, fails=fails)

    def update(self, name: str, *more: str, fails: bool = False) -> str:
        return self.run("endpoint", "update", "--project", PROJECT, "--name", name, *more, "--wait", fails=fails)

    def get(self, name: str) -> dict[str, Any]:
        return dict(self.stack.answer("endpoint", "get", name, "--project", PROJECT))

    def delete(self, name: str) -> None:
        self.run("endpoint", "delete", name, "--project", PROJECT, "--wait")

    def client(self, key: str | None = None, **more: Any) -> OpenAI:
        return OpenAI(base_url=self.stack.environment["OPENAI_BASE_URL"], api_key=key or self.key, max_retries=0, timeout=30, **more)

    def ask(self, name: str, key: str | None = None) -> str:
        answer = self.client(key).chat.completions.create(model=name, messages=[{"role": "user", "content": "x"}], max_tokens=2)
        return str(answer.choices[0].message.content)

    def engines(self) -> list[int]:
        return list(self.stack.processes("stub.py"))


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    with Stack() as stack:
        shop = Shop(stack)
        shop.register("v1")
        shop.register("v2")
        yield shop


def test_versions_change_under_load_without_a_lost_request(shop: Shop) -> None:
    shop.create("rolling", "v1", "--min-replicas", "2")
    with Load(shop.client(), "rolling") as load:
        load.answer_at_least(20)
        shop.update("rolling", "--traffic-split", "v1=50,v2=50")
        load.answer_at_least(20)
        shop.update("rolling", "--traffic-split", "v2=100")
        load.answer_at_least(20)
        shop.update("rolling", "--traffic-split", "v1=100,v2=0")
        load.answer_at_least(20)
        shop.update("rolling", "--min-replicas", "1", "--max-replicas", "4")
        load.answer_at_least(20)
    assert load.lost == []
    live = shop.get("rolling")["status"]["live"]
    assert live["variants"]["v1"]["weight"] == 100
    shop.delete("rolling")
    until("its engines are gone", lambda: not shop.engines(), timeout_s=30)


def test_a_version_that_crashes_is_rolled_back_and_its_last_words_reach_the_user(shop: Shop) -> None:
    shop.register("crashes", mode="crash")
    shop.create("steady", "v1")
    with Load(shop.client(), "steady", workers=2) as load:
        load.answer_at_least(5)
        told = shop.update("steady", "--traffic-split", "crashes=100", fails=True)
        load.answer_at_least(5)
    assert load.lost == []
    assert "the weights do not fit this architecture" in told
    assert "hf_abcdefghijklmnopqrstuvwx" not in told
    status = shop.get("steady")["status"]
    assert status["rejected"]["reason"] == "Crashed"
    assert status["live"]["variants"]["v1"]["weight"] == 100
    shop.delete("steady")


@pytest.mark.parametrize(("mode", "word"), [("crash", "do not fit"), ("wrong-model", "model"), ("wrong-instance", "ff-")])
def test_a_first_version_that_cannot_start_fails_with_its_reason(shop: Shop, mode: str, word: str) -> None:
    shop.register(f"bad-{mode}", mode=mode)
    assert word in shop.create(f"bad-{mode}", f"bad-{mode}", fails=True)
    with pytest.raises(APIStatusError) as refused:
        shop.ask(f"bad-{mode}")
    assert refused.value.status_code == 503
    assert refused.value.code in ("model_loading", "no_ready_replica")
    assert int(refused.value.response.headers["retry-after"]) > 0
    shop.delete(f"bad-{mode}")
    with pytest.raises(NotFoundError) as gone:
        shop.ask(f"bad-{mode}")
    assert gone.value.code == "model_not_found"


def test_a_killed_engine_loses_no_plain_request_and_is_replaced(shop: Shop) -> None:
    shop.create("pair", "v1", "--min-replicas", "2", "--max-replicas", "2")
    victim = shop.engines()[0]
    answers = 0
    for number in range(60):
        if number == 20:
            os.kill(victim, signal.SIGKILL)
        answers += bool(shop.ask("pair"))
    assert answers == 60
    until("two engines serve again", lambda: shop.get("pair")["status"]["replicas"]["ready"] == 2 and victim not in shop.engines())
    shop.delete("pair")


def test_a_revoked_key_is_refused_within_five_seconds_and_stays_so_while_the_server_is_dead(shop: Shop) -> None:
    shop.create("keyed", "v1")
    key = shop.mint()
    assert shop.ask("keyed", key)
    tokens = shop.stack.answer("token", "get", "app", "--project", PROJECT)
    identifier = max(tokens["status"]["credentials"], key=lambda credential: credential["created_at"])["id"]
    shop.run("token", "revoke", "app", identifier, "--project", PROJECT)

    def refusal() -> AuthenticationError | None:
        try:
            shop.ask("keyed", key)
        except AuthenticationError as error:
            return error
        return None

    assert until("the revoked key is refused", refusal, timeout_s=5).code == "token_revoked"
    shop.stack.kill("fleetform server")
    refused = refusal()
    assert refused is not None
    assert refused.code == "token_revoked"
    assert shop.ask("keyed")
    until("the server is back", lambda: shop.get("keyed"), timeout_s=30)
    shop.delete("keyed")


def test_a_damaged_artifact_is_refused_before_anything_loads(shop: Shop) -> None:
    shop.register("pinned")
    folder = shop.models / "pinned"
    for file in list(folder.iterdir()):
        data = file.read_bytes()
        file.unlink()
        file.write_bytes(data)
    flip_one_bit(folder)
    for cached in (shop.stack.home / "cache").glob("**/*"):
        if cached.is_file():
            cached.unlink()
    told = shop.create("damaged", "pinned", fails=True)
    assert "digest" in told.lower() or "changed" in told.lower()
    shop.delete("damaged")


def test_a_pickle_and_an_artifact_elsewhere_are_refused(shop: Shop) -> None:
    folder = shop.models / "pickled"
    folder.mkdir()
    for file in (shop.models / "original").iterdir():
        if file.suffix != ".safetensors":
            os.link(file, folder / file.name)
    (folder / "model.safetensors").write_bytes(b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94.")
    assert "PickleRefused" in shop.register_folder("pickled", fails=True)
    source = ("--artifact", "file:///etc/", "--framework", "pytorch", "--runtime", "cpu")
    told = shop.run("model", "register", "--project", PROJECT, "--name", "m", "--version", "outside", *source, fails=True)
    assert "--artifact" in told or "artifact" in told
