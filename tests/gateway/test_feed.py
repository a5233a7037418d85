"""The way of an update to Envoy: acknowledged, refused, and surviving the death of each part."""

import concurrent.futures
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator

import openai
import pytest

from fleetform.gateway import rotation
from fleetform.gateway.snapshot import Applied, NeedsFull, SnapshotUpdate, Superseded
from tests.gateway.engines import EchoEngine
from tests.gateway.processes import end
from tests.gateway.stack import Gateway, a_route, a_track
from tests.gateway.test_traffic import EVENTS, ask, stream
from tests.harness.waiting import until

pytestmark = pytest.mark.envoy


@pytest.fixture
def engine(own_gateway: Gateway) -> Iterator[EchoEngine]:
    """The engine behind endpoint `m`."""
    engine = own_gateway.echo("engine")
    own_gateway.publish(a_route("m", a_track("v1", 100, engine.path)))
    yield engine
    own_gateway.run(engine.stop())


def test_old_epochs_and_gaps_are_refused(own_gateway: Gateway, engine: EchoEngine) -> None:
    publish, version = own_gateway.feed.publish, own_gateway.version
    stale = SnapshotUpdate(epoch=0, version=version + 5, base=version, remove=("p1/m",))
    assert own_gateway.run(publish(stale)) == Superseded(epoch=1, version=version)
    gap = SnapshotUpdate(epoch=1, version=version + 5, base=version + 4, remove=("p1/m",))
    assert own_gateway.run(publish(gap)) == NeedsFull(epoch=1, version=version)
    again = SnapshotUpdate(epoch=1, version=version, base=version - 1)
    assert own_gateway.run(publish(again)) == Applied(epoch=1, version=version, repeated=True)
    assert ask(own_gateway, "m", 5) == {"engine": 5}


def test_a_new_leader_takes_over_with_a_full_update(own_gateway: Gateway, engine: EchoEngine) -> None:
    """Endpoints that it does not know are gone, the others untouched."""
    own_gateway.publish(a_route("gone", a_track("v1", 100, engine.path)))
    route = a_route("m", a_track("v1", 100, engine.path))
    update = SnapshotUpdate(epoch=2, version=own_gateway.version + 1, base=0, full=True, upsert=(route,))
    assert own_gateway.run(own_gateway.feed.publish(update)) == Applied(epoch=2, version=own_gateway.version + 1)
    own_gateway.until_acked(own_gateway.version + 1)
    assert ask(own_gateway, "gone", 2) == {"model_not_found": 2}
    assert ask(own_gateway, "m", 5) == {"engine": 5}


def test_the_feed_dies_and_traffic_goes_on(own_gateway: Gateway, engine: EchoEngine) -> None:
    """Then it comes back from its files, and Envoy from its pause, within seconds; a revocation gets through again."""
    own_gateway.stop_feed()
    assert ask(own_gateway, "m", 50) == {"engine": 50}
    own_gateway.start_feed()
    begun = time.monotonic()
    report = own_gateway.until_report("Envoy is back", lambda report: report.proxy_alive and report.acked_version == own_gateway.version)
    assert time.monotonic() - begun < 5
    assert report.version == own_gateway.version
    own_gateway.revoked["0123456789abcdef"] = int(time.time()) + 60
    own_gateway.publish()
    assert ask(own_gateway, "m", 5) == {"token_revoked": 5}


def test_what_was_published_while_envoy_was_away_reaches_it(own_gateway: Gateway, engine: EchoEngine) -> None:
    """Not acknowledged before: nothing is in force in a proxy that is not there."""
    end(own_gateway.envoy, signal.SIGKILL)
    own_gateway.until_report("Envoy is gone", lambda report: not report.proxy_alive)
    version = own_gateway.publish(a_route("later", a_track("v1", 100, engine.path)), remove=("p1/m",), wait=False)
    assert own_gateway.feed.report().acked_version < version
    own_gateway.start_envoy()
    own_gateway.until_acked(version)
    assert ask(own_gateway, "later", 5) == {"engine": 5}
    assert ask(own_gateway, "m", 5) == {"model_not_found": 5}


def test_envoy_and_feed_die_together_and_start_from_the_files(own_gateway: Gateway, engine: EchoEngine) -> None:
    end(own_gateway.envoy, signal.SIGKILL)
    own_gateway.stop_feed()
    own_gateway.start_envoy()
    own_gateway.start_feed()
    own_gateway.until_acked(own_gateway.version)
    until("Envoy serves", lambda: ask(own_gateway, "m", 5) == {"engine": 5})


def test_envoy_stays_shut_until_it_knows_who_may_come_in(own_gateway: Gateway, engine: EchoEngine) -> None:
    """Without the feed a new Envoy opens nothing: closed, not open and not full of errors."""
    end(own_gateway.envoy, signal.SIGKILL)
    own_gateway.stop_feed()
    own_gateway.start_envoy()
    until("Envoy runs", own_gateway.settings.envoy_admin_socket.is_socket)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", own_gateway.settings.gateway_port))
    own_gateway.start_feed()
    own_gateway.until_acked(own_gateway.version)
    until("Envoy serves", lambda: ask(own_gateway, "m", 5) == {"engine": 5})


def test_a_changed_cluster_while_the_feed_was_away(own_gateway: Gateway, engine: EchoEngine) -> None:
    """The reconnecting Envoy has the old cluster and the same assignment: it needs both anew."""
    own_gateway.stop_feed()
    own_gateway.start_feed()
    own_gateway.publish(a_route("m", a_track("v1", 100, engine.path), request_timeout_s=99), wait=False)
    own_gateway.until_acked(own_gateway.version)
    assert ask(own_gateway, "m", 20) == {"engine": 20}
    assert dict(engine.seen[-1][1])["x-ff-timeout-s"] == "99"


def test_the_activator_serves_alone(own_gateway: Gateway, engine: EchoEngine) -> None:
    """Feed dead, Envoy alive: a cold endpoint is still explained, and the models are listed."""
    own_gateway.publish(a_route("cold", phase="Placing", request_timeout_s=1))
    own_gateway.stop_feed()
    assert ask(own_gateway, "cold", 10) == {"model_loading": 10}
    assert [model.id for model in own_gateway.client().models.list()] == ["cold", "m"]
    own_gateway.start_feed()


def test_a_dead_activator_harms_no_endpoint_that_has_replicas(own_gateway: Gateway, engine: EchoEngine) -> None:
    own_gateway.publish(a_route("cold", request_timeout_s=1))
    end(own_gateway.activator, signal.SIGKILL)
    assert ask(own_gateway, "m", 50) == {"engine": 50}
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask, own_gateway, "cold", 5)
        own_gateway.start_activator()
        assert asked.result() == {"model_loading": 5}


def test_two_envoys_are_both_waited_for(own_gateway: Gateway, engine: EchoEngine) -> None:
    """A stopped one holds the acknowledgement back; a dead one does not."""
    second = own_gateway.another_envoy()
    try:
        own_gateway.until_report("both are fed", lambda _: own_gateway.feed.connected == 2)
        own_gateway.publish(a_route("both", a_track("v1", 100, engine.path)))
        os.kill(second.pid, signal.SIGSTOP)
        version = own_gateway.publish(a_route("both", a_track("v2", 100, engine.path)), wait=False)
        assert ask(own_gateway, "both", 50) == {"engine": 50}
        assert own_gateway.feed.report().acked_version == version - 1
    finally:
        end(second, signal.SIGKILL)
    own_gateway.until_acked(version)


def test_changes_under_load_lose_nothing(own_gateway: Gateway, engine: EchoEngine) -> None:
    """A hundred changes of weights, replicas and time limits, acknowledged one after the other, while ten clients ask."""
    second = own_gateway.echo("second")
    stop = threading.Event()
    client = own_gateway.client()

    def load() -> list[str]:
        answers = []
        while not stop.is_set():
            try:
                client.chat.completions.create(model="m", messages=[])
            except openai.OpenAIError as error:
                answers.append(f"{type(error).__name__}: {error}")
        return answers

    with concurrent.futures.ThreadPoolExecutor(11) as pool:
        lost = [pool.submit(load) for _ in range(10)]
        long = pool.submit(stream, own_gateway, "m", 0.2)
        for number in range(100):
            first, other = (engine, second) if number % 2 else (second, engine)
            tracks = (a_track("v1", 100 - number % 3, first.path), a_track("v2", number % 3, other.path))
            own_gateway.publish(a_route("m", *tracks, request_timeout_s=100 + number % 5 // 4))
        stop.set()
        assert [words for each in lost for words in each.result()] == []
        assert long.result() == "".join(EVENTS).encode()
    own_gateway.run(second.stop())


def test_the_access_log(own_gateway: Gateway, engine: EchoEngine) -> None:
    """What it says of a served, a refused and a private request, and what it never says."""
    canary = "canary-7d1f4a"
    own_gateway.publish(
        a_route("m", a_track("v1", 100, engine.path)), a_route("private", a_track("v3", 100, engine.path), log_content="off")
    )
    key = own_gateway.mint()
    client = own_gateway.client(key)

    def say(model: str) -> str:
        raw = client.chat.completions.with_raw_response.create(
            model=model, messages=[{"role": "user", "content": canary}], extra_query={"q": canary}, extra_headers={"x-note": canary}
        )
        return str(raw.headers["x-request-id"])

    served, private = own_gateway.logged(say("m")), own_gateway.logged(say("private"))
    assert (served["project"], served["token"], served["endpoint"], served["version"]) == ("p1", "token:p1:app", "m", "v1")
    assert (served["status"], served["attempts"], served["replica"], served["route"]) == (200, 1, "engine", "chat/completions")
    assert served["usage"] == {"prompt_tokens": 3, "completion_tokens": 4}
    assert served["latency_ms"] >= 0
    assert served["ttft_ms"] >= 0
    assert (private["endpoint"], private["version"], private["status"]) == ("private", "v3", 200)
    assert not {"bytes_in", "bytes_out", "details", "ttft_ms"} & set(private)
    for line in (served, private):
        assert (line["track"], line["replica"], line["flags"]) == (f"{line['version']}.aaaaaaaa", "engine", "-")
        assert line["stream"] is False
        assert 0 <= line["replica_ttft_ms"] <= line["replica_latency_ms"] <= line["latency_ms"] + 1

    with pytest.raises(openai.APIStatusError) as caught:
        own_gateway.client("cd-" + canary).chat.completions.create(model="m", messages=[])
    refused = own_gateway.logged(str(caught.value.request_id))
    assert (refused["status"], refused["project"], refused["endpoint"]) == (401, None, None)
    text = own_gateway.settings.access_log.read_text()
    assert canary not in text
    assert key not in text
    assert "Bearer" not in text
    assert canary not in own_gateway.log.read_text()


def test_usage_of_a_stream_is_logged(own_gateway: Gateway, engine: EchoEngine) -> None:
    events = [
        'data: {"choices": []}\n\n',
        'data: {"choices": [], "usage": {"prompt_tokens": 8, "completion_tokens": 9}}\n\n',
        "data: [DONE]\n\n",
    ]
    raw = own_gateway.client().chat.completions.with_raw_response.create(model="m", messages=[], stream=True, extra_body={"events": events})
    assert len(list(raw.parse())) == 2
    line = own_gateway.logged(str(raw.headers["x-request-id"]))
    assert (line["usage"], line["stream"]) == ({"prompt_tokens": 8, "completion_tokens": 9}, True)


def test_no_event_of_a_declared_engine_ends_envoy(own_gateway: Gateway, engine: EchoEngine) -> None:
    """Such as `data: null`: JSON that is neither an object nor a list."""
    own_gateway.publish(a_route("declared", a_track("v1", 100, engine.path), command_engine=True))
    events = [f"data: {data}\n\n" for data in ("null", "1", '"x"', "true", "[]", "{", "", "[DONE]")]
    create = own_gateway.client().chat.completions.with_streaming_response.create
    with create(model="declared", messages=[], extra_body={"stream": True, "events": events}) as answer:
        assert b"".join(answer.iter_bytes()) == "".join(events).encode()
    assert own_gateway.envoy.poll() is None


def test_the_access_log_is_rotated_while_requests_come(own_gateway: Gateway, engine: EchoEngine) -> None:
    """No line is lost: what was asked before is in the old file, what is asked afterwards in the new one."""
    path = own_gateway.settings.access_log
    asked = 0
    for _ in range(rotation.KEPT + 2):
        ask(own_gateway, "m", 20)
        asked += 20
        until("logged", lambda: len(own_gateway.log_lines()) == 20)
        assert own_gateway.run(rotation.rotate(path, own_gateway.settings.envoy_admin_socket, limit_bytes=1000))
        until("a new log", path.exists)
    assert not own_gateway.run(rotation.rotate(path, own_gateway.settings.envoy_admin_socket))
    assert sorted(file.name for file in path.parent.glob("access.log*")) == [
        "access.log",
        *(f"access.log.{n + 1}" for n in range(rotation.KEPT)),
    ]
    assert all(len(path.with_name(f"access.log.{n + 1}").read_text().splitlines()) == 20 for n in range(rotation.KEPT))
