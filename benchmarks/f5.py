"""F5: processes of an engine that still run ten seconds after its parent and the host worker were killed at once: 0.

Stub engines with children that ignore SIGTERM, round after round, then one round with real vLLM, whose engine core and worker live on
for good when their API server is killed (seen for more than two minutes, with all of their memory). Processes are told by pid and start
time, so that one whose pid was given again counts for nobody. A worker that is killed again before it has run for a while is started
later each time, so each round waits until it has.
"""

import os
import signal
import time
from pathlib import Path

import httpx2
from openai import OpenAIError

from benchmarks.report import report
from fleetform.host import processes
from fleetform.host.children import STEADY_AFTER_S
from fleetform.host.processes import Identity
from tests.e2e.real_shop import RealShop
from tests.e2e.shop import PROJECT
from tests.harness.engines import Looker
from tests.harness.stack import Stack
from tests.harness.waiting import until

ROUNDS = int(os.environ.get("ROUNDS", "10"))
DEADLINE_S = 10.0
CHILDREN = 2


def main() -> None:
    """The rounds on one stack, each with an endpoint of its own, that no back-off of an earlier round keeps waiting."""
    with Stack() as stack:
        shop, looker = RealShop(stack), Looker(stack, PROJECT)
        shop.register("v1", children=CHILDREN, stubborn_children=True)
        rounds = []
        for number in range(ROUNDS):
            shop.create(f"stub-{number}", "v1")
            rounds.append(_round(shop, looker, f"stub-{number}", CHILDREN + 1))
            shop.delete(f"stub-{number}")
        shop.serve("real")
        rounds.append(_round(shop, looker, "real", 3))
    orphans, slowest = sum(left for left, _ in rounds), max(took_s for _, took_s in rounds)
    ours = f"{orphans} orphans of {ROUNDS} stub rounds and one of vLLM, the last one gone after {slowest:.1f} s"
    report("F5", orphans, 0, ours, "vLLM by itself: engine core and worker stay", at_most=True)


def _round(shop: RealShop, looker: Looker, endpoint: str, least: int) -> tuple[int, float]:
    """Kill the worker and the engine's parent; how many of its processes are left after ten seconds, and when the last one was gone."""
    (engine,) = until("the engine serves", lambda: looker.engines(endpoint), timeout_s=600)
    members = engine.members
    assert len(members) >= least, members
    worker = until("the worker runs steadily", lambda: _steady_worker(shop), timeout_s=120, every_s=0.5)
    begun = time.monotonic()
    os.kill(worker, signal.SIGKILL)
    assert processes.send(members[0], signal.SIGKILL)
    gone_s = DEADLINE_S
    try:
        until("its processes are gone", lambda: not _living(members), timeout_s=DEADLINE_S)
        gone_s = time.monotonic() - begun
    except AssertionError:
        print("still there:", *(str(member.pid) for member in _living(members)))
    left = len(_living(members))
    print(f"{endpoint}: {len(members)} processes, {left} left after {gone_s:.1f} s", flush=True)
    until("the endpoint serves again", lambda: _serves(shop, looker, endpoint), timeout_s=600)
    return left, gone_s


def _steady_worker(shop: RealShop) -> int | None:
    """The pid of the worker, once it has run for so long that its end is followed by a start at once."""
    (pid,) = shop.stack.processes("fleetform host worker") or (0,)
    stat = processes.read_stat(pid) if pid else None
    if stat is None:
        return None
    uptime_s = float(Path("/proc/uptime").read_text().split()[0])
    return pid if uptime_s - stat.start_ticks / os.sysconf("SC_CLK_TCK") > STEADY_AFTER_S + 1 else None


def _serves(shop: RealShop, looker: Looker, endpoint: str) -> bool:
    """True when an engine answers; the worker may still be away."""
    try:
        return bool(looker.engines(endpoint)) and bool(shop.ask(endpoint))
    except (httpx2.TransportError, OpenAIError):
        return False


def _living(members: tuple[Identity, ...]) -> list[Identity]:
    return [member for member in members if processes.alive(member)]


if __name__ == "__main__":
    main()
