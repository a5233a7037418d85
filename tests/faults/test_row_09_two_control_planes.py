"""Row 9: two servers on one PostgreSQL; the leader is stopped for longer than its lease, at the worst moments, and then goes on.

Its successor works meanwhile. What the old leader still wants to do is refused by its epoch: its write by the lease, its command by the
host, its snapshot by the gateway.
"""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from fleetform.host import processes, records
from fleetform.steps import Step
from tests.e2e.shop import PROJECT
from tests.harness.crashing import REPLICAS, STEADY, CrashBed
from tests.harness.ports import free_ports
from tests.harness.waiting import until

pytestmark = [pytest.mark.envoy, pytest.mark.postgres, pytest.mark.faults, pytest.mark.timeout(300)]
TAKES_OVER_S = 90.0
"""The lease, and for a transaction that is open meanwhile PostgreSQL's own limit of 30 s."""


class TwoServers(CrashBed):
    """A crash bed with a second server beside the supervised one."""

    def __enter__(self) -> "TwoServers":
        super().__enter__()
        try:
            spec = records.read_json(self.stack.home / "host" / "children" / "server.json")
            assert spec is not None
            (port,) = free_ports(1)
            self.log = self.stack.home / "logs" / "second.log"
            with self.log.open("ab") as log:
                environment = {**spec["env"], "FLEETFORM_API_PORT": str(port)}
                self.second = subprocess.Popen(spec["argv"], env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            own = self.stack.environment["FLEETFORM_BASE_URL"]
            self.apis = {own: self._api, f"http://127.0.0.1:{port}": self._client(f"http://127.0.0.1:{port}")}
            until("the second server answers", lambda: self._answers(f"http://127.0.0.1:{port}"), timeout_s=60)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        for pid in self.servers():
            os.kill(pid, signal.SIGCONT)
        if hasattr(self, "second"):
            self.second.kill()
            self.second.wait(timeout=20)
        super().__exit__(*exc)

    def servers(self) -> list[int]:
        return list(self.stack.processes("fleetform server"))

    def stopped(self) -> int | None:
        """The server that is stopped."""
        found = [pid for pid in self.servers() if (stat := processes.read_stat(pid)) is not None and stat.state == "T"]
        return found[0] if found else None

    def use_living_api(self) -> None:
        """Speak to a server that answers."""
        self._api = until("a server answers", lambda: next((api for url, api in self.apis.items() if self._answers(url)), None))

    def said(self, event: str) -> list[dict[str, Any]]:
        """The lines of both servers' logs with that event, in their order."""
        found = []
        for path in (self.log, self.stack.home / "logs" / "server.log"):
            for line in path.read_text(errors="replace").splitlines():
                entry = json.loads(line) if line.startswith("{") else {}
                found += [entry] if entry.get("event") == event else []
        return sorted(found, key=lambda entry: str(entry["timestamp"]))

    def traces(self) -> dict[str, Any]:
        """What a leader can change: rows, and what runs."""
        endpoint = self._api.get(f"/endpoints/{STEADY}").json()
        replicas = self._api.get(f"/endpoints/{STEADY}/replicas").json()["items"]
        return {
            "status": endpoint["status"],
            "generation": endpoint["metadata"]["generation"],
            "replicas": [replica["id"] for replica in replicas],
            "engines": sorted(self.shop.engines()),
            "epoch": Path(self.stack.home / "host" / "epoch").read_text(),
        }

    def published(self) -> list[int]:
        """The epochs of the leaders whose routes are stored, in the order in which they were. What a start took is published later."""
        (journal,) = (self.stack.home / "gateway").glob("journal-*")
        return [json.loads(line.partition(" ")[2])["epoch"] for line in journal.read_text().splitlines()]

    def _client(self, url: str) -> httpx2.Client:
        headers = {"authorization": f"Bearer {self.stack.environment['FLEETFORM_TOKEN']}"}
        return httpx2.Client(base_url=f"{url}/v1/projects/{PROJECT}", headers=headers, timeout=20)

    def _answers(self, url: str) -> bool:
        try:
            return httpx2.get(f"{url}/readyz", timeout=2).status_code == 200
        except httpx2.HTTPError:
            return False


@pytest.fixture(scope="module")
def two() -> Iterator[TwoServers]:
    with TwoServers() as two:
        yield two


@pytest.mark.parametrize(
    ("step", "refusal"),
    [
        (Step.START_BEFORE, "StaleEpoch"),
        (Step.STOP_BEFORE, "StaleEpoch"),
        (Step.PUBLISH_BEFORE, "StaleEpoch"),
        (Step.RESERVED, "NotLeader"),
        (Step.RECORD_WRITTEN, "DatabaseAway"),
    ],
)
def test_row_09_a_leader_that_was_stopped_changes_nothing_any_more(two: TwoServers, step: Step, refusal: str) -> None:
    two.use_living_api()
    led, ended = len(two.said("leading")), len(two.said("not_leading"))
    with two.under_load(rate=10, long_streams=2, stream_s=1.5) as load:
        two._arm(f"{step} stop")
        two.version = "v2" if two.version == "v1" else "v1"
        two._put(STEADY, two.version, REPLICAS)
        until("the leader is stopped", lambda: two.stopped() is not None, timeout_s=30)
        old = two.stopped()
        assert old is not None
        two.use_living_api()
        until("the other one leads", lambda: len(two.said("leading")) > led, timeout_s=TAKES_OVER_S)
        two._converged()
        before = two.traces()
        os.kill(old, signal.SIGCONT)
        until("the old leader learns of it", lambda: len(two.said("not_leading")) > ended, timeout_s=30)
        after = two.traces()
        load.answer_at_least(10)
    assert after == before
    assert len(two.published()) > 1
    assert two.published() == sorted(two.published()), "a leader has published after its successor"
    assert load.lost == []
    two.check()
    words = " ".join(str(line) for line in two.said("not_leading")[ended:])
    assert "epoch" in words or refusal in words, words
    print(f"row 9: stopped at {step}, went on under epoch {before['epoch']}: 0 of its changes applied, refused with: {words[:300]}")
