"""A whole stack with stub engines: what users see when versions change, engines misbehave and programs die.

Everything is typed as a user types it: the command line, and the OpenAI SDK through Envoy.
"""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from openai import APIStatusError, AuthenticationError, NotFoundError, Stream

from tests.e2e.shop import PROJECT, Shop
from tests.harness.load import Load
from tests.harness.stack import Stack
from tests.harness.waiting import until

pytestmark = [pytest.mark.envoy, pytest.mark.postgres, pytest.mark.timeout(300)]


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


def test_the_replicas_of_an_endpoint_show_how_busy_they_are_also_after_proxy_and_worker_died(shop: Shop) -> None:
    shop.create("busy", "v1")

    def replica() -> dict[str, Any]:
        (found,) = shop.stack.answer("replicas", "--endpoint", "busy", "--project", PROJECT)
        return dict(found)

    def under_way(count: int) -> None:
        until(f"{count} under way", lambda: replica()["in_flight"] == count, timeout_s=15)

    def hold() -> Stream[Any]:
        body = {"stub_token_delay_s": 60}
        return shop.client().chat.completions.create(model="busy", messages=[], max_tokens=2, stream=True, extra_body=body)

    under_way(0)
    with hold(), hold():
        under_way(2)
        for program in ("fleetform host worker", "_bin/envoy"):
            shop.stack.kill(program)
            until("the replica is seen again", lambda: replica()["in_flight"] is not None, timeout_s=30)
    under_way(0)
    until("its memory is known", lambda: replica()["memory_mib"], timeout_s=30)
    found = replica()
    assert (found["phase"], found["restarts"], found["kv_usage"]) == ("Ready", 0, None)
    assert "Ready" in shop.run("replicas", "--endpoint", "busy", "--project", PROJECT)
    shop.delete("busy")
