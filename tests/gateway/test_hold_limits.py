"""How long requests are held, how many, and how much of them; and what the rest is told. Real Envoy, real activator."""

import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
from msgspec.structs import replace

from tests.gateway.holding import ask, refusal, until_waiting
from tests.gateway.stack import Gateway, a_route, a_track
from tests.harness.waiting import until

pytestmark = pytest.mark.envoy
MIB = 1 << 20


def test_the_deadline_is_the_endpoints_and_says_what_is_known(gateway: Gateway) -> None:
    began = int(time.time()) - 10
    gateway.feed_heard()
    gateway.publish(a_route("late", phase="Starting", request_timeout_s=1, start_s=5, start_slow_s=40, start_began=began))
    begun = time.monotonic()
    error = refusal(gateway, "late")
    assert 0.7 < time.monotonic() - begun < 2
    assert (error.status_code, error.code) == (503, "model_loading")
    assert 25 <= int(error.response.headers["retry-after"]) <= 30
    assert "x-ff-bounce" not in error.response.headers
    for word in ("Starting", "held for 1 s", "more"):
        assert word in str(error.body)
    assert "control plane" not in str(error.body)


def test_nobody_to_start_anything_is_said_at_the_deadline(own_gateway: Gateway) -> None:
    own_gateway.publish(a_route("alone", phase="ScaledToZero", request_timeout_s=1))
    assert "control plane does not answer" in str(refusal(own_gateway, "alone").body)
    own_gateway.feed_heard()
    assert "does not answer" not in str(refusal(own_gateway, "alone").body)
    own_gateway.stop_feed()
    assert "host process does not answer" in str(refusal(own_gateway, "alone").body)
    own_gateway.start_feed()


@pytest.mark.parametrize("becomes", [{"phase": "Stalled", "reason": "Crashed"}, {"phase": "Deleting"}], ids=["stalled", "deleting"])
def test_an_endpoint_that_will_not_come_ends_the_wait_at_once(gateway: Gateway, pool: ThreadPoolExecutor, becomes: dict[str, Any]) -> None:
    gateway.publish(a_route("hopeless", phase="Starting"))
    waits = pool.submit(refusal, gateway, "hopeless")
    until_waiting(gateway, "p1/hopeless", 1)
    gateway.publish(a_route("hopeless", **becomes))
    for error in (waits.result(timeout=2), refusal(gateway, "hopeless")):
        assert (error.status_code, error.code, error.response.headers["x-should-retry"]) == (503, "no_ready_replica", "false")
        assert becomes.get("reason", "") in str(error.body)


def test_an_endpoint_that_is_removed_ends_the_wait_at_once(gateway: Gateway, pool: ThreadPoolExecutor) -> None:
    gateway.publish(a_route("gone", phase="Starting"))
    waits = pool.submit(refusal, gateway, "gone")
    until_waiting(gateway, "p1/gone", 1)
    gateway.publish(remove=("p1/gone",))
    assert waits.result(timeout=2).code == "model_not_found"


def test_row_43_a_client_that_leaves_frees_its_place(gateway: Gateway) -> None:
    """Its time limit, a closed socket, a reset: nobody waits any more."""
    gateway.publish(a_route("left", phase="ScaledToZero"))
    with pytest.raises(openai.APITimeoutError):
        gateway.client(timeout=0.3).chat.completions.create(model="left", messages=[])
    until_waiting(gateway, "p1/left", 0)
    body = b'{"model": "left"}'
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %s\r\ncontent-length: %d\r\n\r\n"
    for reset in (False, True):
        with socket.create_connection(("127.0.0.1", gateway.settings.gateway_port)) as connection:
            connection.sendall(head % (gateway.mint().encode(), len(body)) + body)
            until_waiting(gateway, "p1/left", 1)
            if reset:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        until_waiting(gateway, "p1/left", 0)


def test_the_line_is_bounded_and_one_project_leaves_room_for_others(pool: ThreadPoolExecutor) -> None:
    """Eight places: one project gets four of them, another two of the rest. What is too much is told when to come again."""
    with Gateway(FLEETFORM_HOLD_REQUESTS="8") as gateway:
        engine = gateway.echo("few")
        routes = [a_route("busy", phase="Starting", start_s=30, project=project) for project in ("p1", "p2")]
        gateway.publish(*routes)
        others = gateway.mint(project="p2")
        mine = [pool.submit(ask, gateway, "busy") for _ in range(20)]
        until("the rest is refused", lambda: sum(each.done() for each in mine) == 16)
        theirs = [pool.submit(ask, gateway, "busy", others) for _ in range(5)]
        until("the rest of theirs too", lambda: sum(each.done() for each in theirs) == 3)
        error = refusal(gateway, "busy")
        assert (error.status_code, error.code, type(error)) == (429, "queue_full", openai.RateLimitError)
        assert 25 <= int(error.response.headers["retry-after"]) <= 30
        gateway.publish(*(replace(route, tracks=(a_track("v1", 100, engine.path),), phase="Ready") for route in routes))
        assert Counter(each.result() for each in mine) == {"queue_full": 16, "few": 4}
        assert Counter(each.result() for each in theirs) == {"queue_full": 3, "few": 2}
        gateway.run(engine.stop())


def test_the_bytes_that_wait_are_bounded_too(pool: ThreadPoolExecutor) -> None:
    """Of eight MiB one project gets half, and a small request of another finds room."""
    with Gateway(FLEETFORM_HOLD_MIB="8") as gateway:
        gateway.publish(*(a_route("heavy", phase="Starting", project=project) for project in ("p1", "p2")))
        large = [pool.submit(ask, gateway, "heavy", padding="x" * MIB) for _ in range(10)]
        until("the rest is refused", lambda: sum(each.done() for each in large) == 6)
        small = pool.submit(ask, gateway, "heavy", gateway.mint(project="p2"))
        until_waiting(gateway, "p2/heavy", 1)
        gateway.publish(remove=("p1/heavy", "p2/heavy"))
        assert small.result() == "model_not_found"
        assert Counter(each.result() for each in large) == {"queue_full": 6, "model_not_found": 4}
