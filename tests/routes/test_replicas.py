"""What can be seen of an endpoint's replicas: the list, and the logs on their hosts."""

from datetime import timedelta
from typing import Any

import pytest

from fleetform.domain.replica import FailureReason, Member, Replica, ReplicaPhase
from fleetform.store import database, events
from tests.control_api import Api, endpoint_spec

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]
PATH = "/projects/acme/endpoints/chat"


@pytest.fixture
async def endpoint(api: Api) -> dict[str, Any]:
    await api.project()
    return await api.must_put(PATH, endpoint_spec())


async def _add(api: Api, uid: str, replica_id: str, phase: ReplicaPhase = ReplicaPhase.READY, **fields: Any) -> None:
    replica = Replica(
        replica_id=replica_id,
        endpoint_uid=uid,
        track="v1.abcd0123",
        model_version="m:v1",
        generation=1,
        phase=phase,
        members=(Member(host="host-1", devices=("GPU-1",)),),
        nonce="n",
        created_at=api.clock() - timedelta(seconds=90),
        changed_at=api.clock(),
        **fields,
    )
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
