"""Row 45: a replica dies under a stream: before the first byte another answers; after it the client gets a typed error, no token twice.

The error is an event that the host says in the engine's place (host/farewells). An engine that was declared as a command line has no part
in that, unless it has our middleware: of such a one the body ends without its last chunk (over HTTP/2: a reset), which every client
raises too. Where the engine itself lives to tell, its own error event passes through.
"""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from fleetform.gateway.intake import broke_off
from fleetform.host import processes
from fleetform.host.children import recorded_identity
from fleetform.host.farewells.deposit import CODE, MESSAGE
from fleetform.host.processes import Identity
from tests.e2e.shop import PROJECT, Shop
from tests.gateway.engines import StubProcess
from tests.gateway.processes import end
from tests.gateway.stack import Gateway, a_route, a_track
from tests.harness.engines import Looker
from tests.harness.farewells import ENGINE, a_keeper, has_a_box, packets
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


@pytest.fixture
def keeper(own_gateway: Gateway) -> "Iterator[subprocess.Popen[bytes]]":
    """The part of a worker that says farewells, and two engines of one endpoint `m` behind our middleware."""
    process = a_keeper(own_gateway.root, own_gateway.log)
    sockets = [own_gateway.serve(name, "m") for name in ("s1", "s2")]
    own_gateway.publish(a_route("m", a_track("v1", 100, *sockets)))
    yield process
    end(process, signal.SIGKILL)


def kill(gateway: Gateway, name: str) -> None:
    """The engine of that name, as its first word says."""
    end(gateway.served[int(name.removeprefix("s")) - 1], signal.SIGKILL)


def read(stream: Any, words: int, then: Callable[[str], None]) -> tuple[list[str], openai.APIError]:
    """The words of a stream, and what it raises at last; after so many of them then is called with the first."""
    texts: list[str] = []
    with pytest.raises(openai.APIError) as caught:  # the stream is what raises
        for chunk in stream:
            assert chunk.choices[0].finish_reason is None
            texts.append(chunk.choices[0].delta.content or "")
            if len(texts) == words:
                then(texts[0])
    assert texts == [texts[0], *(f" word{number}" for number in range(1, len(texts)))], "in order, none twice, none from another replica"
    assert words <= len(texts) < 500
    return texts, caught.value


def is_typed(error: openai.APIError) -> bool:
    return not isinstance(error, openai.APIConnectionError) and (error.code, error.type, error.message) == (CODE, "server_error", MESSAGE)


SLOWLY = {"stub_token_delay_s": 0.02}


@pytest.mark.usefixtures("keeper")
@pytest.mark.parametrize("words", [1, 20], ids=["after the head", "in the middle"])
def test_row_45_after_the_first_byte_the_client_gets_a_typed_error_and_no_token_twice(own_gateway: Gateway, words: int) -> None:
    client = own_gateway.client()
    stream = client.chat.completions.create(model="m", messages=[], max_tokens=500, stream=True, extra_body=SLOWLY)
    texts, error = read(stream, words, lambda name: kill(own_gateway, name))
    assert is_typed(error)
    line = own_gateway.logged(stream.response.headers["x-request-id"])
    assert (line["status"], broke_off(line["flags"])) == (200, False), "the log calls it whole, so that the host counts it"
    until("it is told", lambda: f"told 1 streams of {texts[0]}.sock" in own_gateway.log.read_text())
    again = client.chat.completions.create(model="m", messages=[], max_tokens=3, stream=True)
    other = {"s1": "s2", "s2": "s1"}[texts[0]]
    assert "".join(part.choices[0].delta.content or "" for part in again) == f"{other} word1 word2", "at once by the other one"


@pytest.mark.usefixtures("keeper")
def test_row_45_all_streams_of_a_replica_are_told(own_gateway: Gateway) -> None:
    client = own_gateway.client()
    ready, killed = threading.Barrier(2 * TIMES + 1), threading.Event()
    found: list[tuple[str, bool]] = []

    def ask() -> None:
        def then(_: str) -> None:
            ready.wait(20)
            killed.wait(20)

        stream = client.chat.completions.create(model="m", messages=[], max_tokens=500, stream=True, extra_body=SLOWLY)
        texts, error = read(stream, 5, then)
        found.append((texts[0], is_typed(error)))

    asking = [threading.Thread(target=ask) for _ in range(2 * TIMES)]
    for thread in asking:
        thread.start()
    ready.wait(20)
    kill(own_gateway, "s1")
    kill(own_gateway, "s2")
    killed.set()
    for thread in asking:
        thread.join(20)
    assert len(found) == 2 * TIMES
    assert all(typed for _, typed in found), found


@pytest.mark.usefixtures("keeper")
def test_row_45_the_responses_api_gets_its_own_error_event(own_gateway: Gateway) -> None:
    stream = own_gateway.client().responses.create(model="m", input="x", max_output_tokens=500, stream=True, extra_body=SLOWLY)
    found: list[Any] = []
    for event in stream:
        found.append(event)
        if len(found) == 20:
            kill(own_gateway, found[0].delta)
    *before, last = found
    assert [event.delta for event in before] == [before[0].delta, *(f" word{number}" for number in range(1, len(before)))]
    assert (last.type, last.code, last.message) == ("error", CODE, MESSAGE)
    assert last.sequence_number > before[-1].sequence_number


@pytest.mark.usefixtures("keeper")
@pytest.mark.parametrize("padding", [1_000, 50_000])
def test_row_45_a_slow_reader_gets_whole_events_and_an_error(own_gateway: Gateway, padding: int) -> None:
    """It does not read until the replica is dead: typed where the engine's socket had room, and HTTP's own error where it had none."""
    body = {"stub_padding": padding}
    stream = own_gateway.client().chat.completions.create(model="m", messages=[], max_tokens=100_000, stream=True, extra_body=body)
    name = next(iter(stream)).choices[0].delta.content or ""
    process = own_gateway.served[int(name.removeprefix("s")) - 1]
    until("the engine waits", _waits(process.pid))
    kill(own_gateway, name)
    texts: list[str] = []
    with pytest.raises((openai.APIError, httpx2.HTTPError)):
        texts += (part.choices[0].delta.content or "" for part in stream)
    assert texts == [f" word{number}" for number in range(1, len(texts) + 1)]


def test_row_45_a_worker_that_was_killed_first_has_a_successor_who_tells(own_gateway: Gateway, keeper: "subprocess.Popen[bytes]") -> None:
    made: list[subprocess.Popen[bytes]] = []

    def then(name: str) -> None:
        end(keeper, signal.SIGKILL)
        made.append(a_keeper(own_gateway.root, own_gateway.log))
        until("the engine has told it", lambda: has_a_box(made[0].pid))
        kill(own_gateway, name)

    stream = own_gateway.client().chat.completions.create(model="m", messages=[], max_tokens=500, stream=True, extra_body=SLOWLY)
    try:
        assert is_typed(read(stream, 5, then)[1])
    finally:
        end(made[0], signal.SIGKILL)


@pytest.mark.parametrize("words", [1, 20], ids=["after the head", "in the middle"])
def test_row_45_without_our_middleware_the_error_is_that_of_the_transfer(own_gateway: Gateway, words: int) -> None:
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


@pytest.fixture(scope="module")
def served(shop: Shop) -> Iterator[Shop]:
    """An endpoint `told` of two engines behind our middleware, on a whole stack."""
    words = [sys.executable, str(ENGINE), "--socket", "{socket}", "--served-name", "{served_name}", "--instance", "{instance}"]
    shop.run("engine", "set", "--name", "served", "--", *words)
    source = ("--artifact", f"file://{shop.models}/v1/", "--framework", "pytorch", "--runtime", "cpu", "--engine", "served")
    shop.run("model", "register", "--project", PROJECT, "--name", "served", "--version", "v1", *source, "--wait")
    where = ("--project", PROJECT, "--name", "told", "--model", "served:v1", "--instance-type", "tiny")
    shop.run("endpoint", "create", *where, "--min-replicas", "2", "--max-replicas", "2", "--wait")
    yield shop
    shop.delete("told")


@pytest.mark.postgres
@pytest.mark.timeout(300)
@pytest.mark.parametrize("how", ["killed", "hung", "after its worker"])
def test_row_45_on_a_whole_stack_the_host_tells(served: Shop, how: str) -> None:
    """killed: by anybody. hung: by the host, which has seen it. after its worker: by anybody, when another worker has taken over."""
    looker = Looker(served.stack, PROJECT)
    until("two serve", lambda: len(looker.engines("told")) == 2, timeout_s=60)

    def then(_: str) -> None:
        (busy,) = [engine for engine in looker.engines("told") if packets(engine.members[0].pid) > 1]
        if how == "after its worker":
            worker = _worker(served)
            processes.send(worker, signal.SIGKILL)
            until("there is another", lambda: _worker(served) != worker)
            until("the engine has told it", lambda: has_a_box(_worker(served).pid))
        processes.send(busy.members[0], signal.SIGSTOP if how == "hung" else signal.SIGKILL)

    body = {"stub_token_delay_s": 0.1}
    stream = served.client().chat.completions.create(model="told", messages=[], max_tokens=500, stream=True, extra_body=body)
    assert is_typed(read(stream, 5, then)[1])


def _worker(shop: Shop) -> Identity:
    found = recorded_identity(shop.stack.home / "host" / "running" / "worker.json")
    assert found is not None
    return found


def _waits(pid: int) -> Callable[[], bool]:
    """True when it has spent no time on a processor since the last times it was asked."""
    seen: list[str] = []

    def look() -> bool:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        seen.append(" ".join(fields[11:13]))
        return len(seen) > 6 and len(set(seen[-6:])) == 1

    return look
