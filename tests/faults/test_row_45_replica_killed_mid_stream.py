"""Row 45: a replica dies under a stream: before the first byte another answers; after it the client gets an error, and no token twice.

The error after the first byte is HTTP's own: the body ends without its last chunk (over HTTP/2: a reset), which every client raises. No
filter of Envoy can add a last event to a body whose upstream was reset. Where the engine itself lives to tell, its typed error event
passes through.
"""

import signal
import threading
from typing import Any

import openai
import pytest

from tests.gateway.engines import StubProcess
from tests.gateway.processes import end
from tests.gateway.stack import Gateway, a_route, a_track
from tests.harness.waiting import until

pytestmark = pytest.mark.envoy
TIMES = 5


def pair(gateway: Gateway) -> list[StubProcess]:
    """Two engines of one endpoint `m`."""
    stubs = [gateway.stub(name, "m") for name in ("s1", "s2")]
    gateway.publish(a_route("m", a_track("v1", 100, *(stub.path for stub in stubs))))
    return stubs


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
def test_row_45_before_the_first_byte_another_answers(own_gateway: Gateway, stream: bool) -> None:
    stubs = pair(own_gateway)
    client = own_gateway.client()
    answers: list[str] = []

    def ask() -> None:
        body = {"stub_delay_s": 1.0}
        answer: Any = client.chat.completions.create(model="m", messages=[], max_tokens=3, stream=stream, extra_body=body)
        parts = [answer] if not stream else list(answer)
        texts = [part.choices[0].delta.content if stream else part.choices[0].message.content for part in parts]
        answers.append("".join(text or "" for text in texts))

    asking = [threading.Thread(target=ask) for _ in range(2 * TIMES)]
    for thread in asking:
        thread.start()
    until("all are under way", lambda: own_gateway.log.read_text().count("a request began") == 2 * TIMES)
    end(stubs[0].process, signal.SIGKILL)
    for thread in asking:
        thread.join(20)
    assert answers == ["s2 word1 word2"] * 2 * TIMES


@pytest.mark.parametrize("words", [1, 20], ids=["after the head", "in the middle"])
def test_row_45_after_the_first_byte_the_client_gets_an_error_and_no_token_twice(own_gateway: Gateway, words: int) -> None:
    stubs = {stub.path.stem: stub for stub in pair(own_gateway)}
    body = {"stub_token_delay_s": 0.02}
    stream = own_gateway.client().chat.completions.create(model="m", messages=[], max_tokens=500, stream=True, extra_body=body)
    texts: list[str] = []
    finishes: list[str] = []
    with pytest.raises(Exception, match=r"(?i)incomplete|closed|connection") as caught:  # the stream is what raises
        for chunk in stream:
            texts.append(chunk.choices[0].delta.content or "")
            finishes += filter(None, [chunk.choices[0].finish_reason])
            if len(texts) == words:
                end(stubs[texts[0]].process, signal.SIGKILL)
    assert not isinstance(caught.value, AssertionError)
    assert texts == [texts[0], *(f" word{number}" for number in range(1, len(texts)))], "in order, none twice, none from another replica"
    assert words <= len(texts) < 500
    assert finishes == []


def test_row_45_an_error_event_of_the_engine_reaches_the_client_typed(own_gateway: Gateway) -> None:
    pair(own_gateway)
    body = {"stub_error_after": 3}
    stream = own_gateway.client().chat.completions.create(model="m", messages=[], max_tokens=10, stream=True, extra_body=body)
    with pytest.raises(openai.APIError, match="EngineCore"):
        list(stream)
