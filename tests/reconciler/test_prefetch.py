"""A version that has just been verified is offered to every host that answers, once."""

from pathlib import Path

import pytest

from fleetform.domain.protocol import CommandRequest, CommandResult, Prefetch
from fleetform.errors import HostUnreachable
from tests.builders import a_host
from tests.reconciler.region import a_region

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]


async def test_every_host_is_asked_once_and_one_that_refuses_changes_nothing(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_region(tmp_path, store, hosts=(a_host("host-1"), a_host("host-2"))) as region:
        asked: list[tuple[str, Prefetch]] = []
        obey = region.driver.command

        async def command(host: str, request: CommandRequest) -> CommandResult:
            if isinstance(request.command, Prefetch):
                asked.append((host, request.command))
                if host == "host-1":
                    raise HostUnreachable("no answer from host-1", host=host)
            return await obey(host, request)

        monkeypatch.setattr(region.driver, "command", command)
        region.start()
        await region.register("v1")
        await region.apply()
        assert (await region.settled()).status.ready
        await region.quiet()
        assert sorted(host for host, _ in asked) == ["host-1", "host-2"]
        assert {prefetch.artifact for _, prefetch in asked} == {"file:///models/v1"}
