"""Calls to hosts whose outcome is not known: whatever became of them, no engine is left without a row."""

from pathlib import Path

import pytest

from fleetform.domain.protocol import CommandRequest, CommandResult, StartReplica, StopReplica
from fleetform.errors import HostUnreachable
from fleetform.store import database, endpoints
from fleetform.store.writing import ANY
from tests.reconciler.region import Region, a_region

pytestmark = [pytest.mark.postgres, pytest.mark.anyio]


def let_starts_go_unanswered(region: Region) -> list[CommandRequest]:
    """From now on no start is answered, nor done; they are collected, to arrive late."""
    late: list[CommandRequest] = []
    answer = region.driver.command

    async def command(host: str, request: CommandRequest) -> CommandResult:
        if isinstance(request.command, StartReplica):
            late.append(request)
            raise HostUnreachable("no answer", host=host)
        return await answer(host, request)

    region.driver.command = command  # type: ignore[method-assign]
    return late


async def test_a_start_that_arrives_after_its_endpoint_was_deleted_starts_nothing(store: str, tmp_path: Path) -> None:
    async with a_region(tmp_path, store) as region:
        answer = region.driver.command
        await region.register("v1")
        region.start()
        await region.quiet()
        late = let_starts_go_unanswered(region)
        await region.apply()

        async def sent() -> bool:
            return bool(late)

        await region.until("a start was sent", sent)
        await endpoints.delete("acme", "chat", ANY, region.now)
        await region.gone()
        assert [type(request.command) for request in region.driver.commands if isinstance(request.command, StopReplica)] == [StopReplica]
        result = await answer("host-1", late[0])
        assert not result.accepted
        assert region.driver.running() == {}


async def test_a_start_that_was_done_and_not_answered_is_stopped_with_its_endpoint(store: str, tmp_path: Path) -> None:
    async with a_region(tmp_path, store) as region:
        answer = region.driver.command
        await region.register("v1")
        region.start()
        await region.quiet()
        late = let_starts_go_unanswered(region)
        await region.apply()

        async def sent() -> bool:
            return bool(late)

        await region.until("a start was sent", sent)
        # The host did it, died before it could answer, and its next report does not come before the deletion.
        await answer("host-1", late[0])
        await endpoints.delete("acme", "chat", ANY, region.now)
        await region.gone()
        assert region.driver.running() == {}
        assert await database.rows("SELECT * FROM replica") == []
