"""Endpoints of which nothing runs, with stub engines: the first request is answered, whatever happens meanwhile, and nobody retries."""

import concurrent.futures
import os
import signal
from collections.abc import Iterator

import pytest
from openai import APIStatusError

from tests.e2e.shop import Shop
from tests.harness.load import Load
from tests.harness.stack import Stack
from tests.harness.waiting import until

pytestmark = [pytest.mark.envoy, pytest.mark.postgres, pytest.mark.timeout(300)]
SLEEPERS = ("plain", "stream", "crowd", "orphan", "impatient")
SERVER = "fleetform server"


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    """Endpoints that have served and now rest."""
    with Stack() as stack:
        shop = Shop(stack)
        shop.register("v1", start_delay_s=0.5)
        for name in SLEEPERS:
            timeout = "2s" if name == "impatient" else "120s"
            shop.create(name, "v1", "--min-replicas", "0", "--max-replicas", "2", "--idle", "30s", "--timeout", timeout)
        for name in SLEEPERS:
            until_at_zero(shop, name)
        yield shop


def until_at_zero(shop: Shop, name: str) -> None:
    def at_zero() -> bool:
        status = shop.get(name)["status"]
        return bool(status["phase"] == "ScaledToZero" and status["replicas"]["draining"] == 0)

    until(f"{name} is at zero", at_zero, timeout_s=120, every_s=0.5)


def first_words(shop: Shop, name: str) -> str:
    """A stream, to its end."""
    client = shop.client().with_options(timeout=100)
    chunks = list(client.chat.completions.create(model=name, messages=[{"role": "user", "content": "x"}], stream=True))
    assert chunks[-1].choices[0].finish_reason == "stop"
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def test_at_zero_nothing_runs_and_the_model_is_still_listed(shop: Shop) -> None:
    assert shop.engines() == []
    assert {model.id for model in shop.client().models.list()} >= set(SLEEPERS)
    assert shop.get("plain")["status"]["ready"] is True


def test_the_first_request_is_answered(shop: Shop) -> None:
    assert shop.ask("plain")
    status = shop.get("plain")["status"]
    assert status["replicas"]["ready"] == 1
    assert status["scaling"]["reason"] == "Woken"


def test_the_first_stream_is_answered(shop: Shop) -> None:
    assert "word1" in first_words(shop, "stream")


def test_a_load_that_comes_at_once_loses_nothing_also_when_it_goes_back_to_zero_and_comes_again(shop: Shop) -> None:
    with Load(shop.client().with_options(timeout=100), "crowd", workers=16) as load:
        load.answer_at_least(200)
    assert load.lost == []
    until_at_zero(shop, "crowd")
    with Load(shop.client().with_options(timeout=100), "crowd", workers=16) as load:
        load.answer_at_least(200)
    assert load.lost == []


def test_a_control_plane_that_is_killed_while_a_request_waits_answers_it_when_it_is_back(shop: Shop) -> None:
    shop.stack.kill(SERVER)
    assert first_words(shop, "orphan")
    shop.stack.kill("fleetform host activator")
    assert shop.ask("orphan")


def test_a_control_plane_that_stays_away_is_named_at_the_deadline(shop: Shop) -> None:
    """It is stopped, so that nobody starts another. What serves goes on."""
    assert shop.ask("plain")
    (server,) = shop.stack.processes(SERVER)
    os.kill(server, signal.SIGSTOP)
    try:

        def told() -> APIStatusError | None:
            with pytest.raises(APIStatusError) as caught:
                shop.ask("impatient")
            return caught.value if "control plane does not answer" in str(caught.value) else None

        refused = until("it is said", told, timeout_s=60)
        assert (refused.status_code, refused.code) == (503, "model_loading")
        assert int(refused.response.headers["retry-after"]) > 0
        assert shop.ask("plain")
    finally:
        os.kill(server, signal.SIGCONT)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        until("it serves again", lambda: _answered(pool, shop), timeout_s=60)


def _answered(pool: concurrent.futures.ThreadPoolExecutor, shop: Shop) -> str | None:
    try:
        return pool.submit(shop.ask, "impatient").result()
    except APIStatusError:
        return None
