"""The OpenAI SDK against a real Envoy with stub engines behind it."""

import time
from collections.abc import Callable, Iterator

import pytest

from tests.clients.conformance import CHECKS, MESSAGES, Served
from tests.gateway.stack import Gateway, a_route, a_track

pytestmark = pytest.mark.envoy


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with Gateway() as running:
        yield running


@pytest.fixture(scope="module")
def served(gateway: Gateway) -> Served:
    """A chat endpoint with two replicas, and an embedding endpoint, of project p1."""
    replicas = [gateway.stub(name, "chat").path for name in ("chat-1", "chat-2")]
    vectors = gateway.stub("embed-1", "vectors").path
    gateway.publish(a_route("chat", a_track("v1", 100, *replicas)), a_route("vectors", a_track("v1", 100, vectors)))
    base_url = f"http://127.0.0.1:{gateway.settings.gateway_port}/v1"
    return Served(base_url=base_url, api_key=gateway.mint(), project="p1", model="chat", embedding_model="vectors")


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_conformance(served: Served, check: Callable[[Served], None]) -> None:
    check(served)


def test_a_stream_arrives_word_by_word(served: Served) -> None:
    """Nothing on the way gathers it up: the first word is here long before the last is spoken."""
    slow = {"stub_token_delay_s": 0.2}
    stream = iter(served.client().chat.completions.create(model="chat", messages=MESSAGES, max_tokens=6, stream=True, extra_body=slow))
    next(stream)
    first_at = time.monotonic()
    assert len(list(stream)) >= 6
    assert time.monotonic() - first_at > 0.4
