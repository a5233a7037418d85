"""From zero with a real engine: nothing runs, a client asks, vLLM is forked, and the answer comes. The OpenAI SDK retries nothing."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from openai import OpenAI

from tests.engines.tiny_models import write_tiny_chat_model
from tests.harness.stack import Stack
from tests.harness.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.timeout(1500)]
PROJECT, ENDPOINT = "acme", "sleeper"
MESSAGES: Any = [{"role": "user", "content": "Say one word."}]


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """An endpoint on vLLM that may rest, and has served once."""
    with Stack({"FLEETFORM_ZYGOTE": "on"}) as running:
        models = running.home / "models"
        write_tiny_chat_model(models / "chat", seed=0)
        mine = ("--project", PROJECT)
        running.fleetform("project", "create", "--name", PROJECT, "--artifact-prefix", f"file://{models}/")
        running.fleetform("quota", "set", *mine, "--instance-type", "cpu-small", "--max-replicas", "1")
        running.fleetform("token", "create", *mine, "--name", "app", "--role", "inference.invoker")
        source = ("--artifact", f"file://{models}/chat/", "--framework", "pytorch", "--runtime", "cpu")
        running.fleetform("model", "register", *mine, "--name", "m", "--version", "v1", *source, "--wait")
        bounds = ("--min-replicas", "0", "--max-replicas", "1", "--idle", "30s", "--timeout", "600s")
        served = ("--name", ENDPOINT, "--model", "m:v1", "--instance-type", "cpu-small")
        running.fleetform("endpoint", "create", *mine, *served, *bounds, "--wait", timeout_s=900)
        yield running


def client(stack: Stack) -> OpenAI:
    key = stack.answer("token", "mint", "app", "--project", PROJECT)["secret"]
    return OpenAI(base_url=stack.environment["OPENAI_BASE_URL"], api_key=key, max_retries=0, timeout=600)


def until_at_zero(stack: Stack) -> None:
    def nothing_runs() -> bool:
        status = stack.answer("endpoint", "get", ENDPOINT, "--project", PROJECT)["status"]
        return status["phase"] == "ScaledToZero" and not status["replicas"]["draining"]

    until("nothing runs", nothing_runs, timeout_s=300, every_s=1)


@pytest.mark.parametrize("streams", [False, True], ids=["plain", "stream"])
def test_the_first_request_is_answered_by_the_engine_that_it_woke(stack: Stack, streams: bool) -> None:
    until_at_zero(stack)
    asks, begun = client(stack), time.monotonic()
    if streams:
        chunks = list(asks.chat.completions.create(model=ENDPOINT, messages=MESSAGES, max_tokens=8, stream=True))
        assert chunks[-1].choices[0].finish_reason is not None
    else:
        assert asks.chat.completions.create(model=ENDPOINT, messages=MESSAGES, max_tokens=8).choices[0].finish_reason is not None
    print(f"answered {time.monotonic() - begun:.1f} s after it was asked, from zero")
    status = stack.answer("endpoint", "get", ENDPOINT, "--project", PROJECT)["status"]
    assert (status["replicas"]["ready"], status["scaling"]["reason"]) == (1, "Woken")
