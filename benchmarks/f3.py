"""F3: requests lost in a rollout, a drain, ten 0→1→0 cycles, a killed replica, a restarted proxy, ten minutes without control plane.

Every part runs under load on one whole Fleetform: 50 requests a second, every second one streamed, beside 20 streams of twenty seconds. A
stream counts by its last event and the absence of an error inside it. The killed replica is one of two and the load is plain requests
(what of a stream is out cannot be said again elsewhere); the same kill with Envoy's defaults, in the same run, is the reference.

PARTS=rollout,kill runs some of them. MINUTES (default 10) is how long the control plane is gone. ROLLOUTS (default 2) is how
many, CYCLES (default 10) how often nothing runs. REAL=0 leaves out the rollout on real vLLM.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from benchmarks import f3_defaults, f3_real
from benchmarks.report import report
from tests.e2e.shop import Shop
from tests.harness.judging import Lost, Tally, in_words
from tests.harness.load import SteadyLoad
from tests.harness.stack import Stack
from tests.harness.waiting import until

KILL_REQUESTS = 4000
KILL_RATE = 130.0
PLANE = ("fleetform host", "fleetform server")


class Part(NamedTuple):
    """What came of one part. note: what else it shows."""

    name: str
    sent: int
    lost: list[Lost]
    note: str


def main() -> None:
    """Run the parts that are asked for; the last line is the verdict over all of them."""
    parts: list[Part] = []
    with Stack() as stack:
        shop = Shop(stack)
        shop.register("v1")
        shop.register("v2")
        for name, run in PARTS.items():
            if _wanted(name):
                parts.append(_told(run(shop)))
    if _wanted("real") and os.environ.get("REAL", "1") != "0":
        sent, lost, note = f3_real.rollout()
        parts.append(_told(Part("rollout of real vLLM", sent, lost, note)))
    reference = f3_defaults.loss_share() if _wanted("kill") else None
    count = sum(len(part.lost) for part in parts)
    ours = f"{count} of {sum(part.sent for part in parts)} requests lost ({', '.join(f'{p.name} {len(p.lost)}/{p.sent}' for p in parts)})"
    words = "no reference in this run" if reference is None else f"Envoy's defaults lose {reference:.1%} of a killed replica's load"
    report("F3", float(count), 0, ours, words, at_most=True)


def rollout(shop: Shop) -> Part:
    """v1 → v2 → v1 … by steps, two replicas each."""
    count = int(os.environ.get("ROLLOUTS", "2"))
    shop.create("rollout", "v1", "--min-replicas", "2", "--max-replicas", "2")
    with _load(shop, "rollout") as load:
        load.answer_at_least(100)
        for number in range(count):
            new = "v1" if number % 2 else "v2"
            before = set(shop.engines())
            shop.update("rollout", "--traffic-split", f"{new}=100")
            load.answer_at_least(50)
            until("the old engines are gone", partial(_gone, shop, before), timeout_s=120)
        load.answer_at_least(50)
    shop.delete("rollout")
    return _part("rollout", load, f"{count} rollouts, slowest answer {load.slowest_s:.2f} s")


def drain(shop: Shop) -> Part:
    """Four replicas to one while their streams run."""
    shop.create("drain", "v1", "--min-replicas", "4", "--max-replicas", "4")
    with _load(shop, "drain") as load:
        load.answer_at_least(100)
        shop.update("drain", "--min-replicas", "1", "--max-replicas", "1")
        until("one engine is left", lambda: len(shop.engines()) == 1, timeout_s=120)
        load.answer_at_least(50)
    shop.delete("drain")
    return _part("scale-down", load, "4 replicas to 1")


def cycles(shop: Shop) -> Part:
    """Nothing runs; the whole load comes at once, is served, and leaves; nothing runs again."""
    count = int(os.environ.get("CYCLES", "10"))
    shop.create("cycles", "v1", "--min-replicas", "0", "--max-replicas", "1", "--idle", "30s")
    sent, slowest_s = 0, 0.0
    lost: list[Lost] = []
    for _ in range(count):
        until(
            "nothing runs",
            lambda: not shop.engines() and shop.get("cycles")["status"]["phase"] == "ScaledToZero",
            timeout_s=180,
            every_s=0.5,
        )
        with SteadyLoad(shop.base_url, shop.key, "cycles", long_body={"max_tokens": 20, "stub_token_delay_s": 0.1}) as load:
            load.answer_at_least(200)
        sent, slowest_s = sent + load.sent, max(slowest_s, load.slowest_s)
        lost += load.lost
    shop.delete("cycles")
    return Part(f"{count} cycles 0→1→0", sent, lost, f"slowest answer {slowest_s:.2f} s")


def kill(shop: Shop) -> Part:
    """One of two replicas is killed under plain requests, and replaced."""
    shop.create("kill", "v1", "--min-replicas", "2", "--max-replicas", "2")
    body = {"max_tokens": 3, "stub_delay_s": 0.05}
    with SteadyLoad(shop.base_url, shop.key, "kill", rate=KILL_RATE, long_streams=0, streams=False, plain_body=body) as load:
        for _ in range(2):
            load.answer_at_least(KILL_REQUESTS // 3)
            victim = min(shop.engines())
            os.kill(victim, signal.SIGKILL)
            until("two engines serve", partial(_serve_two, shop, victim), timeout_s=60)
        load.answer_at_least(max(1, KILL_REQUESTS - load.answered))
    shop.delete("kill")
    return _part("killed replica", load, "2 kills, 1 of 2 replicas each")


def restart(shop: Shop) -> Part:
    """Envoy is exchanged for one with another bootstrap, as an upgrade does."""
    shop.create("restart", "v1", "--min-replicas", "2", "--max-replicas", "2")
    with _load(shop, "restart") as load:
        load.answer_at_least(100)
        before = set(shop.stack.processes("envoy --config-path"))
        shop.stack.variables["FLEETFORM_MAX_BODY_MIB"] = "17"
        shop.stack.up()
        until("another Envoy runs", lambda: set(shop.stack.processes("envoy --config-path")) - before, timeout_s=30)
        load.answer_at_least(1500)
    shop.delete("restart")
    return _part("restarted proxy", load, "one exchange of Envoy")


def without_control_plane(shop: Shop) -> Part:
    """Supervisor, worker, activator and server are killed, and stay so for MINUTES; then `up` takes over what runs."""
    minutes = float(os.environ.get("MINUTES", "10"))
    shop.create("alone", "v1", "--min-replicas", "2", "--max-replicas", "2")
    engines = shop.engines()
    with _load(shop, "alone") as load:
        load.answer_at_least(100)
        _kill_control_plane(shop)
        over = time.monotonic() + 60 * minutes
        until("the time is over", lambda: time.monotonic() > over, timeout_s=60 * minutes + 5, every_s=1)
        assert not any(shop.stack.processes(words) for words in PLANE), "something of the control plane came back by itself"
        shop.stack.up()
        until("the region knows its replicas", lambda: shop.get("alone")["status"]["replicas"]["ready"] == 2, timeout_s=60)
        load.answer_at_least(100)
    assert shop.engines() == engines, "an engine was restarted"
    shop.delete("alone")
    return _part("no control plane", load, f"{minutes:g} minutes, engines not restarted")


def _kill_control_plane(shop: Shop) -> None:
    """All of it at once: stopped first, so that no part is left a moment in which it could start another."""
    pids = [pid for words in PLANE for pid in shop.stack.processes(words)]
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            os.kill(pid, number)
    until("it is gone", lambda: not any(shop.stack.processes(words) for words in PLANE))


def _load(shop: Shop, name: str) -> SteadyLoad:
    return SteadyLoad(shop.base_url, shop.key, name)


def _gone(shop: Shop, engines: set[int]) -> bool:
    return not engines & set(shop.engines())


def _serve_two(shop: Shop, gone: int) -> bool:
    return gone not in shop.engines() and shop.get("kill")["status"]["replicas"]["ready"] == 2


def _part(name: str, load: Tally, note: str) -> Part:
    assert load.under_way == 0, "every request has one outcome"
    return Part(name, load.sent, load.lost, note)


def _told(part: Part) -> Part:
    print(f"{part.name}: {len(part.lost)} of {part.sent} lost; {part.note}", flush=True)
    for line in in_words(part.lost):
        print(f"  {line}", flush=True)
    return part


def _wanted(name: str) -> bool:
    given = os.environ.get("PARTS", "")
    return not given or name in given.split(",")


PARTS: dict[str, Callable[[Shop], Part]] = {
    "rollout": rollout,
    "drain": drain,
    "cycles": cycles,
    "kill": kill,
    "restart": restart,
    "alone": without_control_plane,
}

if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a program's own stdout is a text file
    main()
