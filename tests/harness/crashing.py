"""A stack whose programs can be made to die at any step, with an endpoint under load that must not notice.

Crash-point method: name the step, do what passes it, see the program die there and its supervisor start it again; then the endpoint
must converge, the invariants of fleetcheck must hold, and nothing may have been lost.
"""

import asyncio
import itertools
import json
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import httpx2

from fleetform import settings as configuration
from fleetform.fleetcheck.facts import Verdict
from fleetform.fleetcheck.look import look
from fleetform.host.children import BACK_OFF_MAX_S
from fleetform.steps import VARIABLE, Step
from tests.e2e.shop import PROJECT, Shop
from tests.harness.load import SteadyLoad
from tests.harness.stack import Stack
from tests.harness.waiting import until

STEADY, BRIEF = "steady", "brief"
REPLICAS = 2
STEPS = (50, 100)
CONVERGES_S = 60.0
DIES_S = BACK_OFF_MAX_S + 30.0
"""A program that dies in the recovery of another must be up for that, which its supervisor may hold back for as long as BACK_OFF_MAX_S."""
ANSWERS_S = 2 * BACK_OFF_MAX_S + 30.0
"""A server that was killed, and then dies at a step of its start, is held back twice."""
LOG_LINES = 60
CANARY = "Say one word."
"""What the load asks: it must stand in no log and in no row."""
RENEWED = frozenset({Step.LEASE_BEFORE_RENEW, Step.LEASE_RENEWED})
TAKEN = frozenset({Step.LEASE_BEFORE_TAKE, Step.LEASE_TAKEN})
VERIFIED = frozenset({Step.VERIFY_BEFORE, Step.VERIFY_SENT, Step.VERDICT_WRITTEN, Step.VERDICT_COMMITTED})
DELETED = frozenset({Step.DELETE_WRITTEN, Step.DELETE_COMMITTED})
ASLEEP = frozenset(step for step in Step if step.startswith(("host.sleep.", "host.wake.", "host.evict.", "server.evict.")))
"""What only engines on a device pass. tests/host/test_warm_pool_deaths.py dies there; the simulation, around the server's command."""
ON_DISK = frozenset(step for step in Step if step.startswith(("host.freeze.", "host.thaw.", "host.discard.")))
"""What only a host passes that makes snapshots. tests/host/test_snapshot_deaths.py dies there."""

FORKED = frozenset(step for step in Step if step.startswith("host.fork."))
"""What only an engine passes that was forked for a device. tests/host/zygote/test_trust.py dies there."""

AWAKE = tuple(step for step in Step if step not in ASLEEP | ON_DISK | FORKED)
"""The steps that a stack without devices and snapshots passes."""


def in_turn(steps: Iterable[Step]) -> tuple[Step, ...]:
    """steps so that server and host worker die alternately: a program that died a moment ago is started again after a pause only."""
    found = tuple(steps)
    sides = [[step for step in found if step.startswith(side)] for side in ("server", "host")]
    return tuple(step for pair in itertools.zip_longest(*sides) for step in pair if step is not None)


LIVING = in_turn(step for step in AWAKE if step not in RENEWED | TAKEN | VERIFIED)
"""The steps that the life of one endpoint passes, from its creation to its end."""


class CrashBed:
    """The stack, a shop on it, and the endpoint `steady`, which moves between v1 and v2. Use `running()` around everything."""

    def __init__(self) -> None:
        self.stack = Stack()
        self.file = self.stack.home / "crash"
        self.stack.variables[VARIABLE] = str(self.file)
        self.version = "v1"
        self.load: SteadyLoad | None = None
        self._registered = 0
        self._armed: tuple[str, ...] = ()

    def __enter__(self) -> "CrashBed":
        self.stack.__enter__()
        try:
            self.shop = Shop(self.stack)
            self.shop.register("v1")
            self.shop.register("v2")
            environment = self.stack.environment
            headers = {"authorization": f"Bearer {environment['FLEETFORM_TOKEN']}"}
            self._api = httpx2.Client(base_url=f"{environment['FLEETFORM_BASE_URL']}/v1/projects/{PROJECT}", headers=headers, timeout=20)
            self._put(STEADY, self.version, REPLICAS)
            self._converged()
        except BaseException:
            self.stack.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self._api.close()
        self.stack.__exit__(*exc)

    def under_load(self, rate: float, long_streams: int, stream_s: float) -> SteadyLoad:
        """rate requests a second on `steady`, beside long_streams that take stream_s each."""
        words = 20
        long_body = {"max_tokens": words, "stub_token_delay_s": stream_s / words}
        url = self.stack.environment["OPENAI_BASE_URL"]
        return SteadyLoad(url, self.shop.key, STEADY, rate=rate, long_streams=long_streams, long_body=long_body)

    def change(self, *steps: str) -> float:
        """Move `steady` to its other version while its programs die at steps, one after another; the seconds until all was well."""
        begun = time.monotonic()
        self._arm(*steps)
        self._pass_by(Step(steps[0].partition(":")[0]))
        self._died(steps)
        self._converged()
        self._went_by_steps()
        self.check()
        return time.monotonic() - begun

    def create_and_delete(self, step: Step) -> float:
        """Create an endpoint, and delete it as soon as a program has died at step, or it serves; the seconds until it was gone."""
        begun = time.monotonic()
        self._arm(step)
        self._put(BRIEF, "v1", 1)
        self._until("it serves, or a program died", lambda: not self.file.exists() or self._is_ready(BRIEF), CONVERGES_S)
        self._delete(BRIEF)
        # 404 says that nothing of it is left: no engine, no row.
        engines = [line for line in self.stack.processes("stub.py").values() if f"--served-name {BRIEF}" in line]
        assert not engines, engines
        self._died((step,))
        self._converged()
        self.check()
        return time.monotonic() - begun

    def check(self) -> None:
        """AssertionError with what is broken, when an invariant is."""
        found = asyncio.run(look(configuration.load(self.stack.variables), within_s=20.0, canaries=(CANARY,)))
        assert not any(verdict.broken for verdict in found), _in_words(found)
        assert all(verdict.looked_at is not None for verdict in found)

    def _arm(self, *steps: str) -> None:
        """Have a program die at each of steps. What an attempt before left unfinished is ended first: it must fail no other than itself."""
        self.file.unlink(missing_ok=True)
        self._delete(BRIEF)
        self._converged()
        temporary = self.file.with_suffix(".new")
        temporary.write_text("\n".join(steps) + "\n")
        temporary.replace(self.file)
        self._armed = steps

    def _pass_by(self, step: Step) -> None:
        """Do what passes step, and always a change of version."""
        if step in TAKEN:
            self.stack.kill("fleetform server")
        if step in VERIFIED:
            self._register()
        if step in DELETED:
            self._put(BRIEF, "v1", 1)
            self._insist(lambda: self._api.delete(f"/endpoints/{BRIEF}"), (200, 202, 204, 404))
        self.version = "v2" if self.version == "v1" else "v1"
        self._put(STEADY, self.version, REPLICAS)

    def _register(self) -> None:
        self._registered += 1
        source = {"artifact": f"file://{self.shop.models}/v1/", "framework": "pytorch", "runtime": "cpu", "engine": "stub"}
        self._insist(lambda: self._api.put(f"/model-versions/extra/n{self._registered}", json={"spec": source}), (200, 201, 202))

    def _died(self, steps: tuple[str, ...]) -> None:
        self._until(f"a program has died at {' and at '.join(steps)}", lambda: not self.file.exists(), DIES_S)

    def _put(self, name: str, version: str, replicas: int) -> None:
        spec = {
            "instance_type": "tiny",
            "variants": {version: {"model_version": f"m:{version}", "weight": 100}},
            "scaling": {"min_replicas": replicas},
            "rollout": {"steps": list(STEPS), "step_hold_s": 0, "bake_s": 0},
        }
        self._insist(lambda: self._api.put(f"/endpoints/{name}", json={"spec": spec}), (200, 201, 202))

    def _insist(self, call: Callable[[], httpx2.Response], statuses: tuple[int, ...]) -> httpx2.Response:
        """The answer to an idempotent call, made again while the server is dead, comes back or says that it is busy."""

        def once() -> httpx2.Response | None:
            try:
                answer = call()
            except httpx2.TransportError:
                return None
            assert answer.status_code in statuses or answer.status_code >= 500, f"{answer.status_code} {answer.text}"
            return answer if answer.status_code in statuses else None

        return until("the API answers", once, timeout_s=ANSWERS_S)

    def _delete(self, name: str) -> None:
        """Delete an endpoint, if there is one, and wait until it is gone."""
        self._insist(lambda: self._api.delete(f"/endpoints/{name}"), (200, 202, 204, 404))
        self._until("it is gone", lambda: self._is_gone(name), CONVERGES_S)

    def _is_gone(self, name: str) -> bool:
        return self._insist(lambda: self._api.get(f"/endpoints/{name}"), (200, 404)).status_code == 404

    def _is_ready(self, name: str) -> bool:
        answer = self._insist(lambda: self._api.get(f"/endpoints/{name}"), (200,)).json()
        status: dict[str, Any] = answer["status"]
        return bool(status["ready"]) and status["observed_generation"] >= answer["metadata"]["generation"]

    def _converged(self) -> None:
        """`steady` is ready with what was asked for last, and of everything else nothing is left."""
        self._until(f"{STEADY} serves {self.version} and nothing else", self._is_as_wanted, CONVERGES_S)

    def _is_as_wanted(self) -> bool:
        if not self._is_ready(STEADY):
            return False
        found = self._insist(lambda: self._api.get(f"/endpoints/{STEADY}/replicas"), (200,)).json()["items"]
        shown = sorted((replica["model_version"], replica["phase"]) for replica in found)
        assert shown == [(f"m:{self.version}", "Ready")] * REPLICAS, shown
        return True

    def _went_by_steps(self) -> None:
        """The weights of `steady` have moved by its steps, each once: nobody who came after a death made a jump, or a step anew."""
        newest = self._insist(lambda: self._api.get(f"/endpoints/{STEADY}/rollouts"), (200,)).json()["items"][0]
        moved = (newest["phase"], [step["percent"] for step in newest["steps"]])
        assert moved == ("Completed", list(STEPS)), f"{json.dumps(newest)}\n{self._account()}"

    def _until(self, what: str, probe: Callable[[], bool], timeout_s: float) -> None:
        """`until`, whose AssertionError tells where the programs were to die and where everything stands."""
        try:
            until(what, probe, timeout_s=timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self._account()}") from error

    def _account(self) -> str:
        """The armed steps, both endpoints and their replicas as the API shows them, and the end of every log."""
        left = self.file.read_text().split() if self.file.exists() else []
        parts = [f"now {datetime.now(UTC):%H:%M:%S.%f}, armed {', '.join(self._armed)}, not passed yet: {', '.join(left) or 'none'}"]
        for path in (f"/endpoints/{name}{more}" for name in (BRIEF, STEADY) for more in ("", "/replicas", "/events")):
            try:
                answer = self._api.get(path)
                parts.append(f"--- {path}: {answer.status_code}\n{json.dumps(answer.json(), indent=1)}")
            except (httpx2.HTTPError, ValueError) as error:
                parts.append(f"--- {path}: {error!r}")
        return "\n".join([*parts, self.stack.logs(LOG_LINES)])


def _in_words(found: tuple[Verdict, ...]) -> str:
    return "; ".join(f"{v.invariant} {', '.join(b.ids)}: {b.message}" for v in found for b in v.broken)
