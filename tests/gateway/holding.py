"""What tests of held requests ask, and how they see that something waits."""

import functools
from typing import Any

import openai
import pytest

from tests.gateway.stack import Gateway
from tests.harness.waiting import until


@functools.lru_cache(maxsize=4)
def client_of(gateway: Gateway, key: str | None) -> openai.OpenAI:
    """One client per key, so that a crowd shares its connections."""
    return gateway.client(key)


def ask(gateway: Gateway, model: str, key: str | None = None, **body: Any) -> str:
    """The engine's name, or the code of the error."""
    try:
        answer = client_of(gateway, key).chat.completions.create(model=model, messages=[], extra_body=body)
    except openai.APIStatusError as error:
        return str(error.code)
    return str(answer.choices[0].message.content)


def refusal(gateway: Gateway, model: str) -> openai.APIStatusError:
    """The error that a request ends with."""
    with pytest.raises(openai.APIStatusError) as caught:
        gateway.client().chat.completions.create(model=model, messages=[])
    return caught.value


def waiting(gateway: Gateway, key: str) -> int:
    """How many requests for an endpoint, `project/name`, the activator holds now."""
    return gateway.feed.waiting.counts().get(key, 0)


def until_waiting(gateway: Gateway, key: str, count: int) -> None:
    until(f"{count} wait for {key}", lambda: waiting(gateway, key) == count, every_s=0.01)


def in_flight(gateway: Gateway, model: str, replica_id: str) -> int:
    """How many requests Envoy has under way at a replica."""
    return gateway.run(gateway.feed.in_flight(f"p1/{model}", [replica_id]))[replica_id]


def take_out(gateway: Gateway, *replica_ids: str) -> None:
    """As the host does with replicas that hang; none: all are back."""

    async def tell() -> None:
        gateway.feed.take_out(frozenset(replica_ids))

    gateway.run(tell())
