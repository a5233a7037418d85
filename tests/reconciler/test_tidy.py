"""Tidying up: what ended and has no row is forgotten by its host; what runs without a row is told, and left alone."""

from pathlib import Path

import pytest

from fleetform.domain.protocol import CommandRequest, CommandResult, ForgetReplica, HostReplica, HostReplicaState
from fleetform.errors import HostUnreachable
from fleetform.host import postgres
from fleetform.reconciler.deps import SHARD, Deps
from fleetform.reconciler.loop import Term
from fleetform.store import fleet
from fleetform.store.lease import Claim
from tests.reconciler.region import Region, a_region

pytestmark = [pytest.mark.postgres, pytest.mark.anyio]


async def a_term(region: Region) -> Term:
    """A term that has heard its host. Nothing of it runs by itself, so that the test alone tidies up."""
    url = postgres.url(region.settings)
    deps = Deps(region.settings, region.driver, region.key, url, lambda: region.now, lambda: "0" * 32, host_grace_s=0.2)
    term = Term(deps, Claim(url, SHARD, "test"))
    term.sight.merge("host-1", await region.driver.observe("host-1", 0, 0))
    return term


async def test_a_replica_that_is_forgotten_while_the_rows_are_asked_ends_no_term(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_region(tmp_path, store) as region:
        term = await a_term(region)
        host = term.sight.hosts["host-1"]
        for replica_id in ("r1", "r2"):
            host.replicas[replica_id] = HostReplica(replica_id=replica_id, state=HostReplicaState.EXITED, seq=1)
        known = fleet.known_replicas

        async def slowly(ids: list[str]) -> set[str]:
            found = await known(ids)
            del host.replicas["r1"]
            return found

        monkeypatch.setattr(fleet, "known_replicas", slowly)
        await term.endpoints.tidy()
        forgotten = [r.command.replica_id for r in region.driver.commands if isinstance(r.command, ForgetReplica)]
        assert forgotten == ["r2"]
        assert "r2" not in host.replicas


async def test_a_host_that_fails_keeps_no_other_from_being_tidied(store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again at the next sweep; else everything was swept every second until it answered."""
    async with a_region(tmp_path, store) as region:
        term = await a_term(region)
        term.sight.merge("host-0", await region.driver.observe("host-1", 0, 0))
        for host in ("host-0", "host-1"):
            term.sight.hosts[host].replicas["r1"] = HostReplica(replica_id="r1", state=HostReplicaState.EXITED, seq=1)
        command = region.driver.command

        async def away(host: str, request: CommandRequest) -> CommandResult:
            if host == "host-0":
                raise HostUnreachable("host-0 does not answer", host=host)
            return await command(host, request)

        monkeypatch.setattr(region.driver, "command", away)
        await term.endpoints.tidy()
        assert "r1" in term.sight.hosts["host-0"].replicas
        assert "r1" not in term.sight.hosts["host-1"].replicas
