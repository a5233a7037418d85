"""Tidying up: what ended and has no row is forgotten by its host; what runs without a row is told, and left alone."""

from pathlib import Path

import pytest

from fleetform.domain.protocol import ForgetReplica, HostReplica, HostReplicaState
from fleetform.reconciler import endpoints as endpoint_loop
from fleetform.store import fleet
from tests.reconciler.region import a_region

pytestmark = [pytest.mark.postgres, pytest.mark.anyio]


async def test_a_replica_that_is_forgotten_while_the_rows_are_asked_ends_no_term(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_region(tmp_path, store) as region:
        region.start()

        async def heard() -> bool:
            return region.reconciler.term is not None and region.reconciler.term.sight.is_reachable("host-1")

        await region.until("the host has been heard", heard)
        term = region.reconciler.term
        assert term is not None
        host = term.sight.hosts["host-1"]
        for replica_id in ("r1", "r2"):
            host.replicas[replica_id] = HostReplica(replica_id=replica_id, state=HostReplicaState.EXITED, seq=1)
        known = fleet.known_replicas

        async def slowly(ids: list[str]) -> set[str]:
            found = await known(ids)
            del host.replicas["r1"]
            return found

        monkeypatch.setattr(endpoint_loop.fleet, "known_replicas", slowly)
        await term.endpoints.tidy()
        forgotten = [r.command.replica_id for r in region.driver.commands if isinstance(r.command, ForgetReplica)]
        assert forgotten == ["r2"]
        assert "r2" not in host.replicas
