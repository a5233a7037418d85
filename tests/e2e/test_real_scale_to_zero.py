"""From zero with a real engine: nothing runs, a client asks, vLLM is forked, and the answer comes. The OpenAI SDK retries nothing."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.real_shop import RealShop
from tests.harness.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.timeout(1500)]
ENDPOINT = "sleeper"
MESSAGES: Any = [{"role": "user", "content": "Say one word."}]


@pytest.fixture(scope="module")
def shop(real_shop: RealShop) -> Iterator[RealShop]:
    """An endpoint on vLLM that may rest, and has served once."""
    real_shop.serve(ENDPOINT, "--idle", "30s", "--timeout", "600s", least=0, most=1)
    yield real_shop
    real_shop.delete(ENDPOINT)


def until_at_zero(shop: RealShop) -> None:
    def nothing_runs() -> bool:
        status = shop.get(ENDPOINT)["status"]
        return status["phase"] == "ScaledToZero" and not status["replicas"]["draining"]

    until("nothing runs", nothing_runs, timeout_s=300, every_s=1)


@pytest.mark.parametrize("streams", [False, True], ids=["plain", "stream"])
def test_the_first_request_is_answered_by_the_engine_that_it_woke(shop: RealShop, streams: bool) -> None:
    until_at_zero(shop)
    asks, begun = shop.client().with_options(timeout=600), time.monotonic()
    if streams:
        chunks = list(asks.chat.completions.create(model=ENDPOINT, messages=MESSAGES, max_tokens=8, stream=True))
        assert chunks[-1].choices[0].finish_reason is not None
    else:
        assert asks.chat.completions.create(model=ENDPOINT, messages=MESSAGES, max_tokens=8).choices[0].finish_reason is not None
    print(f"answered {time.monotonic() - begun:.1f} s after it was asked, from zero")
    status = shop.get(ENDPOINT)["status"]
    assert (status["replicas"]["ready"], status["scaling"]["reason"]) == (1, "Woken")
