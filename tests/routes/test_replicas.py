"""What can be seen of an endpoint's replicas: the list, and the logs on their hosts."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from fleetform.domain.load import EngineLoad, GatewayLoad, HostLoad, ReplicaLoad
from fleetform.domain.protocol import HostReplica, HostReplicaState
from fleetform.domain.replica import FailureReason, Member, Phase, Replica, ReplicaPhase
from fleetform.domain.rollout import RolloutState, TrackFailures
from fleetform.store import database, events
from tests.control_api import Api, Loads, endpoint_spec

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]
PATH = "/projects/acme/endpoints/chat"


async def _add(api: Api, uid: str, replica_id: str, phase: ReplicaPhase = ReplicaPhase.READY, **fields: Any) -> None:
    usual: dict[str, Any] = {
        "replica_id": replica_id,
        "endpoint_uid": uid,
        "track": "v1.abcd0123",
        "model_version": "m:v1",
        "generation": 1,
        "phase": phase,
        "members": (Member(host="host-1", devices=("GPU-1",)),),
        "nonce": "n",
        "created_at": api.clock() - timedelta(seconds=90),
        "changed_at": api.clock(),
    }
    replica = Replica(**(usual | fields))
    await database.rows(
        "INSERT INTO replica VALUES ({}, {}::uuid, {}, {}, {}::jsonb)", replica_id, uid, phase, api.clock(), database.encode(replica)
    )


async def test_replicas_are_listed_by_id(api: Api, endpoint: dict[str, Any]) -> None:
    uid = endpoint["metadata"]["uid"]
    await _add(api, uid, "r1")
    await _add(api, uid, "r2", ReplicaPhase.FAILED, failure=FailureReason.CRASHED, message="it ended", log_tail=("boom",))
    first = (await api.get(f"{PATH}/replicas?limit=1")).json()
    second = (await api.get(f"{PATH}/replicas?limit=1&cursor={first['next_cursor']}")).json()
    assert [first["items"][0]["id"], second["items"][0]["id"], second["next_cursor"]] == ["r1", "r2", None]
    assert {key: first["items"][0][key] for key in ("variant", "host", "devices", "age_s", "phase")} == {
        "variant": "v1",
        "host": "host-1",
        "devices": ["GPU-1"],
        "age_s": 90,
        "phase": "Ready",
    }
    assert {key for key, value in first["items"][0].items() if value is None} == {"reason", "in_flight", "kv_usage", "memory_mib"}, (
        "nothing failed, and no host was asked"
    )
    assert (second["items"][0]["reason"], second["items"][0]["log_tail"]) == ("Crashed", ["boom"])


async def test_what_hosts_measure_now_is_shown_with_each_replica(api: Api, endpoint: dict[str, Any]) -> None:
    """Under way is summed over gateways; what is old, or nobody's, is not told."""
    uid = endpoint["metadata"]["uid"]
    for replica_id, phase in (("r1", ReplicaPhase.READY), ("r2", ReplicaPhase.READY), ("r3", ReplicaPhase.STARTING)):
        await _add(api, uid, replica_id, phase)
    loads = api.deps.loads
    assert isinstance(loads, Loads)
    at = datetime(2020, 1, 1, tzinfo=UTC)
    old = at - timedelta(seconds=11)
    busy = GatewayLoad(at=at, since=old, replicas=(ReplicaLoad(replica_id="r1", in_flight=2, served=9),))
    r1 = EngineLoad(replica_id="r1", at=at, kv_usage=0.5, memory_mib=900)
    r2 = EngineLoad(replica_id="r2", at=old, kv_usage=0.9, memory_mib=800)
    loads.found = (
        HostLoad(host="host-1", at=at, gateway=busy, engines=(r1, r2)),
        HostLoad(host="host-2", at=at, gateway=busy),
        HostLoad(host="host-3", at=at, gateway=msgspec.structs.replace(busy, at=old)),
    )
    shown = {item["id"]: item for item in (await api.get(f"{PATH}/replicas")).json()["items"]}
    live = {id_: (item["in_flight"], item["kv_usage"], item["memory_mib"]) for id_, item in shown.items()}
    assert live == {"r1": (4, 0.5, 900), "r2": (0, None, 800), "r3": (None, None, None)}
    assert loads.asked == 1


async def test_phases_and_failed_starts_in_a_row_are_shown(api: Api, endpoint: dict[str, Any]) -> None:
    uid = endpoint["metadata"]["uid"]
    begun = api.clock() - timedelta(seconds=5)
    await _add(
        api, uid, "r1", phases=(Phase(name="fetch", started_at=begun, ended_at=api.clock()), Phase(name="load", started_at=api.clock()))
    )
    await _add(api, uid, "r2", track="v2.abcd0123")
    failures = {"v1.abcd0123": TrackFailures(count=3, last_at=begun, reason="Crashed", message="")}
    state = RolloutState(generation=1, failures=failures)
    await database.rows("UPDATE endpoint SET rollout = {}::jsonb WHERE uid = {}::uuid", database.encode(state), uid)
    first, second = (await api.get(f"{PATH}/replicas")).json()["items"]
    assert [(phase["name"], phase["ended_at"] is None) for phase in first["phases"]] == [("fetch", False), ("load", True)]
    assert (first["restarts"], second["restarts"]) == (3, 0)


async def test_a_start_that_is_under_way_shows_its_phases_as_its_host_has_them_now(api: Api, endpoint: dict[str, Any]) -> None:
    uid = endpoint["metadata"]["uid"]
    begun = api.clock()
    place, fetch, convert = (Phase(name=name, started_at=begun) for name in ("place", "fetch", "convert"))
    for replica_id, phase in (("r1", ReplicaPhase.FETCHING), ("r2", ReplicaPhase.STARTING), ("r3", ReplicaPhase.READY)):
        await _add(api, uid, replica_id, phase, phases=(place, fetch))
    assert isinstance(api.deps.loads, Loads)
    for replica_id in ("r1", "r3"):
        told = HostReplica(replica_id=replica_id, state=HostReplicaState.FETCHING, seq=1, phases=(fetch, convert))
        api.deps.loads.starts[replica_id] = told
    shown = [[phase["name"] for phase in item["phases"]] for item in (await api.get(f"{PATH}/replicas")).json()["items"]]
    assert shown == [["place", "fetch", "convert"], ["place", "fetch"], ["place", "fetch"]], "r2's host does not answer, r3 has started"


async def test_hosts_are_not_asked_where_there_is_no_replica(api: Api, endpoint: dict[str, Any]) -> None:
    assert (await api.get(f"{PATH}/replicas")).json()["items"] == []
    assert isinstance(api.deps.loads, Loads)
    assert api.deps.loads.asked == 0


async def test_a_log_is_read_on_the_replicas_host(api: Api, endpoint: dict[str, Any]) -> None:
    await _add(api, endpoint["metadata"]["uid"], "r1")
    api.logs.lines["r1"] = ("a", "b", "c")
    answer = await api.get(f"{PATH}/replicas/r1/log?lines=2")
    assert answer.json() == {"replica_id": "r1", "lines": ["b", "c"]}
    assert api.logs.asked == [("r1", "host-1")]


async def test_a_log_outlives_its_replica(api: Api, endpoint: dict[str, Any]) -> None:
    async with database.transaction():
        await events.append(endpoint["metadata"]["uid"], "acme", api.clock(), "ReplicaFailed", "it ended", replica_id="r0")
    api.logs.lines["r0"] = ("last words",)
    assert (await api.get(f"{PATH}/replicas/r0/log")).json()["lines"] == ["last words"]
    assert api.logs.asked == [("r0", None)]


async def test_a_replica_of_another_endpoint_has_no_log_here(api: Api, endpoint: dict[str, Any]) -> None:
    other = await api.must_put("/projects/acme/endpoints/other", endpoint_spec())
    await _add(api, other["metadata"]["uid"], "r1")
    api.logs.lines["r1"] = ("secret",)
    assert (await api.get(f"{PATH}/replicas/r1/log")).status_code == 404
    assert api.logs.asked == []
