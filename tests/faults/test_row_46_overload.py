"""Row 46: ten times what there is room for. The line stays bounded, by count and by bytes; what is too much is told when to come again;
others are served as ever, and the administrator's paths answer.
"""

import concurrent.futures
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from fleetform.gateway import admin
from tests.gateway.stack import Gateway, a_route, a_track
from tests.harness.waiting import until

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(180)]
PLACES, OURS = 40, 20
"""Of forty places one project gets twenty."""
CLIENTS = 10 * OURS


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with Gateway(FLEETFORM_HOLD_REQUESTS=str(PLACES), FLEETFORM_HOLD_MIB="16") as running:
        yield running


def outcome(client: openai.OpenAI, model: str, **body: Any) -> str:
    try:
        client.chat.completions.create(model=model, messages=[], extra_body=body)
    except openai.APIStatusError as error:
        comes_again = int(error.response.headers.get("retry-after", "0")) > 0
        return str(error.code) if comes_again else f"{error.code} without Retry-After"
    return "answered"


@pytest.mark.parametrize("lasts_s", [6, pytest.param(60, marks=pytest.mark.faults)])
def test_row_46_the_line_is_bounded_and_everybody_else_is_served(gateway: Gateway, lasts_s: int) -> None:
    engine = gateway.echo("one")
    cold = a_route("cold", phase="Starting", start_s=30)
    gateway.publish(cold, a_route("warm", a_track("v1", 100, engine.path), project="p2"))
    flood, other = gateway.client(), gateway.client(gateway.mint(project="p2"))
    counts: Counter[str] = Counter()
    ends_at = time.monotonic() + lasts_s

    def keep_asking(_: int) -> None:
        while time.monotonic() < ends_at:
            counts[outcome(flood, "cold")] += 1

    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        asking = [pool.submit(keep_asking, number) for number in range(CLIENTS)]
        until("the line is full", lambda: gateway.feed.waiting.counts() == {"p1/cold": OURS})
        while time.monotonic() < ends_at:
            assert outcome(other, "warm") == "answered"
            assert [model.id for model in other.models.list()] == ["warm"]
            assert "p2/warm" in gateway.run(admin.in_flight(gateway.settings.envoy_admin_socket, ["p2/warm"]))
            assert gateway.feed.waiting.counts() == {"p1/cold": OURS}
        assert set(counts) == {"queue_full"}
        assert counts.total() > CLIENTS
        gateway.publish(a_route("cold", a_track("v1", 100, engine.path)))
        for each in asking:
            each.result()
    assert set(counts) == {"queue_full", "answered"}
    assert counts["answered"] >= OURS
    gateway.run(engine.stop())


def test_row_46_large_requests_fill_their_share_of_bytes_and_no_more(gateway: Gateway) -> None:
    """Sixteen MiB may wait: four times two of one project leave as many free."""
    gateway.publish(a_route("cold", phase="Starting", request_timeout_s=30))
    engine, client = gateway.echo("one"), gateway.client()
    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        asked = [pool.submit(outcome, client, "cold", padding="x" * (2 << 20)) for _ in range(40)]
        until("the rest is refused", lambda: sum(each.done() for each in asked) == 36, timeout_s=25)
        assert gateway.feed.waiting.counts() == {"p1/cold": 4}
        gateway.publish(a_route("cold", a_track("v1", 100, engine.path)))
        assert Counter(each.result() for each in asked) == {"queue_full": 36, "answered": 4}
    gateway.run(engine.stop())


def test_row_46_a_replica_with_ten_times_its_work_keeps_no_other_endpoint_waiting(gateway: Gateway) -> None:
    engine, stub = gateway.echo("one"), gateway.stub("busy", "busy")
    gateway.publish(a_route("busy", a_track("v1", 100, stub.path)), a_route("warm", a_track("v1", 100, engine.path), project="p2"))
    flood, other = gateway.client(), gateway.client(gateway.mint(project="p2"))
    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        asked = [pool.submit(outcome, flood, "busy", stub_delay_s=3) for _ in range(CLIENTS)]
        until("all of it is under way", lambda: gateway.run(gateway.feed.in_flight("p1/busy", ["busy"])) == {"busy": CLIENTS})
        for _ in range(20):
            assert outcome(other, "warm") == "answered"
        assert not any(each.done() for each in asked)
        assert Counter(each.result() for each in asked) == {"answered": CLIENTS}
    gateway.run(engine.stop())
