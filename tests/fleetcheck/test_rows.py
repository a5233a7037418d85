"""What fleetcheck reads, from a real database and from files as they lie on a machine."""

import subprocess
import sys
from pathlib import Path

import pytest

from fleetform import settings as configuration
from fleetform.fleetcheck import machine, rows
from fleetform.fleetcheck.checks import verdicts
from fleetform.fleetcheck.facts import Facts
from fleetform.host import records
from fleetform.store import database
from tests.reconciler.region import Region, a_region

pytestmark = [pytest.mark.postgres, pytest.mark.anyio]


async def settled(region: Region) -> None:
    await region.register("v1")
    await region.apply(replicas=2)
    region.start()
    await region.settled()


async def test_rows_of_a_settled_endpoint_break_nothing(tmp_path: Path, store: str) -> None:
    async with a_region(tmp_path, store) as region:
        await settled(region)
        found = await rows.read(())
        assert [(endpoint.key, len(endpoint.replicas), len(endpoint.holding)) for endpoint in found.endpoints] == [("acme/chat", 2, 2)]
        assert len(found.reservations) == 2
        assert not [verdict for verdict in verdicts(Facts(rows=found)) if verdict.broken]


async def test_a_canary_a_secret_a_lost_event_and_a_quota_that_was_cut_are_seen(tmp_path: Path, store: str) -> None:
    async with a_region(tmp_path, store) as region:
        await settled(region)
        await database.rows("UPDATE event SET message = 'HF_TOKEN=hf_abcdefghijklmnop' WHERE reason = 'Created'")
        await database.rows("UPDATE event SET message = '100% of it_ is x' WHERE reason = 'Serving'")
        await database.rows("UPDATE quota SET max_replicas = 1 WHERE instance_type = 'cpu-small'")
        found = await rows.read(("100% of it_",))
        assert [place.split()[0] for place in found.showing] == ["event", "event"]
        assert (await rows.read(("100_ of it%",))).showing == found.showing[:1]
        await database.rows("DELETE FROM event WHERE reason = 'Created'")
        broken = verdicts(Facts(rows=await rows.read(())))
        assert [verdict.invariant for verdict in broken if verdict.broken] == ["I3", "I7"]


async def test_an_engine_that_runs_without_a_record_is_found(tmp_path: Path) -> None:
    settings = configuration.load({"FLEETFORM_HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)})
    assert await machine.read(settings, ()) is None
    home = tmp_path / "host" / "replicas" / "r1.d"
    home.mkdir(parents=True)
    records.write_json(tmp_path / "host" / "devices.json", {"host": "host-1"})
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "server.log").write_text("fine\nkey=-----BEGIN PRIVATE KEY-----\nthe canary sings\n")
    (tmp_path / "logs" / "access.log").write_text('{"request_id": "a", "status": 200}\n{"request_id": "a", "status": null}\n{"cut')
    with subprocess.Popen([sys.executable, "-c", "input()"], cwd=home, stdin=subprocess.PIPE, start_new_session=True) as engine:
        try:
            found = await machine.read(settings, ("canary",))
        finally:
            engine.kill()
    assert found is not None
    assert [(session.replica_id, session.pids) for session in found.sessions] == [("r1", (engine.pid,))]
    assert found.showing == ("server.log:-1", "server.log:-2")
    assert [(line.request_id, line.answered) for line in found.access_log] == [("a", True), ("a", False)]
    assert found.envoy is None
