"""Calls to hosts whose outcome is not known: whatever became of them, no engine is left without a row."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from fleetform.domain.protocol import CommandRequest, CommandResult, StartReplica, StopReplica
from fleetform.drivers.pretended import Script
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

    region.driver.command = command  # type: ignore[method-assign]  # this region's driver alone
    return late


def let_the_host_die_of_a_stop(region: Region) -> Callable[[], Awaitable[bool]]:
    """From now on the host that is told to stop a replica neither does nor answers that, nor anything after it; whether one was."""
    unanswered: list[CommandRequest] = []
    answer = region.driver.command

    async def command(host: str, request: CommandRequest) -> CommandResult:
        if isinstance(request.command, StopReplica) and not unanswered:
            unanswered.append(request)
            region.driver.script = Script(lost=(host,))
        return await answer(host, request)

    async def stopped() -> bool:
        return bool(unanswered)

    region.driver.command = command  # type: ignore[method-assign]  # this region's driver alone
    return stopped


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


async def test_what_a_host_did_not_take_is_sent_when_it_answers_again_however_short_its_silence_was(store: str, tmp_path: Path) -> None:
    async with a_region(tmp_path, store) as region:
        region.reconciler = region.a_reconciler(host_grace_s=60)
        await region.register("v1")
        region.start()
        await region.apply()
        await region.settled()
        stopped = let_the_host_die_of_a_stop(region)
        await endpoints.delete("acme", "chat", ANY, region.now)
        await region.until("a stop was sent", stopped)
        await region.quiet()
        assert region.reconciler.term is not None
        assert region.reconciler.term.sight.is_reachable("host-1"), "its silence is too short to be told"
        # The clock stands still, so the pause before the next try does not end: only the host itself can wake whoever waits for it.
        region.driver.script = Script()
        await region.gone()
