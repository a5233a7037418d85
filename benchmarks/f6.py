"""F6: from the moment an engine stops until Envoy sends it nothing new: the worst of all stops in seconds, against five.

Each stop is a SIGSTOP of one process: of stub engines, and of each process of a real vLLM engine in turn (API server, engine core,
worker), whose `/health` stays 200 all the while; where the machine has a freezer, stub engines are frozen too, which only their silence
tells. Then bursts of BURST requests at once: an engine that is only busy must not be taken
for hung, so one false ejection or restart makes the figure short. vLLM itself, and a health check of its paths, never notices.
"""

import asyncio
import contextlib
import json
import os
import signal
import statistics
import time
from collections.abc import Callable, Iterator

import httpx2

from benchmarks.report import report
from fleetform.host import processes
from fleetform.host.processes import Identity
from tests.e2e.real_shop import RealShop, has_a_part
from tests.e2e.shop import PROJECT, Shop
from tests.harness import freezer
from tests.harness.engines import Looker
from tests.harness.load import MESSAGES, Load
from tests.harness.stack import Stack
from tests.harness.waiting import until

BOUND_S = 5.0
BURST = 1280
STUB_STOPS = int(os.environ.get("STOPS", "20"))
FROZEN = 3
REAL_ROUNDS = 2
GIVE_UP_S = 30.0
BURST_S = 600.0


def main() -> None:
    """Stops and a burst with stub engines, then with real ones, on one stack."""
    with Stack() as stack:
        shop, looker = RealShop(stack), Looker(stack, PROJECT)
        shop.register("v1")
        shop.create("stub", "v1", "--min-replicas", "2", "--max-replicas", "2")
        spent = [_out_after(shop, looker, "stub", each, _stopped) for each in _stub_targets(looker, STUB_STOPS)]
        if freezer.is_usable():
            spent += [_out_after(shop, looker, "stub", each, _frozen) for each in _stub_targets(looker, FROZEN)]
        false = _burst(shop, looker, "stub", stub_delay_s=4, max_tokens=20)
        shop.delete("stub")
        shop.serve("real")
        real = [_out_after(shop, looker, "real", each, _stopped) for each in _real_targets(looker)]
        false += _burst(shop, looker, "real", max_tokens=4)
    worst, median = max(spent + real), statistics.median(spent + real)
    ours = f"worst of {len(spent)} stub and {len(real)} vLLM stops {worst:.2f} s (median {median:.2f} s)"
    reference = f"{false} engines falsely taken for hung in two bursts of {BURST}; by vLLM's /health: never"
    report("F6", worst if not false else float("inf"), BOUND_S, ours, reference, at_most=True)


def _stub_targets(looker: Looker, stops: int) -> list[Identity]:
    engines = looker.engines("stub")
    return [engines[number % len(engines)].members[0] for number in range(stops)]


def _real_targets(looker: Looker) -> list[Identity]:
    """Every process of the engine that has a part in an answer, some rounds long."""
    (engine,) = looker.engines("real")
    return [member for member in engine.members if has_a_part(member)] * REAL_ROUNDS


@contextlib.contextmanager
def _stopped(target: Identity) -> Iterator[None]:
    assert processes.send(target, signal.SIGSTOP)
    try:
        yield
    finally:
        processes.send(target, signal.SIGCONT)


def _frozen(target: Identity) -> contextlib.AbstractContextManager[None]:
    """Silent for no reason that /proc tells."""
    return freezer.frozen(target.pid)


def _out_after(
    shop: Shop, looker: Looker, endpoint: str, target: Identity, hang: Callable[[Identity], contextlib.AbstractContextManager[None]]
) -> float:
    """Seconds from the moment when a process hangs until its engine is out. It goes on afterwards, and every request is answered."""
    (engine,) = [each for each in looker.engines(endpoint) if target in each.members]
    with Load(shop.client(), endpoint, workers=4, max_tokens=1, streams=False) as load:
        load.answer_at_least(8)
        begun = time.monotonic()
        with hang(target):
            until("it is out", lambda: engine.socket in looker.out(endpoint), timeout_s=GIVE_UP_S, every_s=0.01)
            took_s = time.monotonic() - begun
        until("it is back", lambda: not looker.out(endpoint), timeout_s=60)
    what = hang.__name__.removeprefix("_")
    print(f"{endpoint}: process {target.pid} {what}, out after {took_s:.2f} s; {len(load.lost)} requests lost", flush=True)
    assert load.lost == [], load.lost[:3]
    return took_s


def _burst(shop: Shop, looker: Looker, endpoint: str, **fields: object) -> int:
    """How many engines were taken for hung, or ended, while BURST requests came at once."""
    before = {each.replica_id: each.members[0] for each in looker.engines(endpoint)}
    begun = time.monotonic()
    answered, ejected = asyncio.run(_ask_all(shop, looker, endpoint, _question(endpoint, **fields)))
    after = {each.replica_id: each.members[0] for each in looker.engines(endpoint)}
    false = len(ejected) + len(before.items() - after.items())
    print(
        f"{endpoint}: {answered} of {BURST} answered in {time.monotonic() - begun:.1f} s; {false} engines falsely taken for hung",
        flush=True,
    )
    assert answered == BURST
    return false


async def _ask_all(shop: Shop, looker: Looker, endpoint: str, body: bytes) -> tuple[int, set[str]]:
    headers = {"authorization": f"Bearer {shop.key}", "content-type": "application/json"}
    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(
        base_url=shop.stack.environment["OPENAI_BASE_URL"], headers=headers, timeout=BURST_S, limits=limits
    ) as http:
        asking = [asyncio.create_task(http.post("/chat/completions", content=body)) for _ in range(BURST)]
        ejected: set[str] = set()
        while not all(task.done() for task in asking):
            ejected |= await asyncio.to_thread(looker.out, endpoint)
            await asyncio.sleep(0.1)
        return sum(1 for task in asking if task.exception() is None and task.result().status_code == 200), ejected


def _question(endpoint: str, **fields: object) -> bytes:
    """The body of a chat completion."""
    return json.dumps({"model": endpoint, "messages": MESSAGES, **fields}).encode()


if __name__ == "__main__":
    main()
