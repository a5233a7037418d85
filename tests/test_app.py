"""What the server does before it serves."""

import asyncio
import socket
from pathlib import Path

import httpx2
import pytest
from litestar import Litestar, get

from fleetform import app
from fleetform.domain.load import HostLoad
from fleetform.domain.protocol import PROTOCOL_VERSION, CommandRequest
from fleetform.drivers.fake import FakeDriver
from fleetform.drivers.local import LocalDriver
from fleetform.drivers.pretended import Script
from fleetform.errors import SetupError
from fleetform.settings import load
from tests.builders import a_host, a_start_command
from tests.harness.ports import free_ports


def test_metrics_are_there_without_being_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    (port,) = free_ports(1)
    monkeypatch.setattr(app, "METRICS_PORT", port)
    found = app.metrics_socket(load({}))
    assert found is not None
    with found:
        assert found.getsockname() == ("127.0.0.1", port)


def test_whoever_has_the_usual_port_of_metrics_does_not_keep_the_server_from_serving(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as theirs:
        monkeypatch.setattr(app, "METRICS_PORT", theirs.getsockname()[1])
        assert app.metrics_socket(load({})) is None


@pytest.mark.parametrize("variable", ["FLEETFORM_METRICS_PORT", "FLEETFORM_API_PORT"])
def test_a_port_that_is_asked_for_and_taken_is_told_with_its_variable(variable: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as theirs:
        settings = load({variable: str(theirs.getsockname()[1])})
        with pytest.raises(SetupError, match=f"set {variable} to a free port"):
            if variable == "FLEETFORM_API_PORT":
                app.bound("127.0.0.1", settings.api_port, variable)
            else:
                app.metrics_socket(settings)


class Slow(FakeDriver):
    """One of its hosts takes for ever to say what it measures. asked: how often each was."""

    def __init__(self) -> None:
        super().__init__(hosts=(a_host("quick"), a_host("stuck"), a_host("lost")))
        self.script = Script(lost=("lost",))
        self.asked: list[str] = []

    async def load(self, host: str) -> HostLoad:
        self.asked.append(host)
        if host == "stuck":
            await asyncio.Event().wait()
        return await super().load(host)


@pytest.mark.anyio
async def test_what_hosts_measure_is_asked_once_for_all_who_want_it_and_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "LOADS_WITHIN_S", 0.5)
    driver = Slow()
    loads = app.DriverLoads(driver)
    gone = asyncio.create_task(loads.read())
    await asyncio.sleep(0)
    gone.cancel()  # whoever leaves takes nothing away from the others
    found = await asyncio.gather(*(loads.read() for _ in range(20)))
    assert {tuple(load.host for load in answer) for answer in found} == {("quick",)}
    assert sorted(driver.asked) == ["lost", "quick", "stuck"]


@pytest.mark.anyio
async def test_starts_are_told_by_the_hosts_that_answer_and_know_them() -> None:
    driver = Slow()
    start = CommandRequest(protocol_version=PROTOCOL_VERSION, epoch=1, command_id="start-r1", command=a_start_command("r1", "quick"))
    assert (await driver.command("quick", start)).accepted
    told = await app.DriverLoads(driver).replicas({"r1": "quick", "r2": "quick", "r3": "lost"})
    assert told == {"r1": await driver.replica("quick", "r1")}


@pytest.mark.anyio
async def test_without_a_host_process_nothing_is_measured(tmp_path: Path) -> None:
    driver = LocalDriver(tmp_path / "none.sock")
    assert await app.DriverLoads(driver).read() == ()
    await driver.close()


@pytest.mark.anyio
async def test_an_answer_in_two_parts_waits_for_no_ack_of_the_first() -> None:
    with app.bound("127.0.0.1", 0, "FLEETFORM_PORT") as where:
        delays: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def served(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            delays.set_result(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        async with await asyncio.start_server(served, sock=where):
            _, writer = await asyncio.open_connection(*where.getsockname())
            writer.close()
            assert await delays


@pytest.mark.anyio
async def test_whoever_is_kept_waiting_is_answered_when_the_server_ends() -> None:
    """Not with the 500 that uvicorn has for requests which are still there when its patience ends."""
    asked, ending = asyncio.Event(), asyncio.Event()

    @get("/")
    async def wait() -> str:
        asked.set()
        await ending.wait()
        return "as it is"

    with app.bound("127.0.0.1", 0, "FLEETFORM_PORT") as where:
        where.listen()
        serving = asyncio.create_task(app._http(Litestar([wait], logging_config=None), where, ending.set))
        async with httpx2.AsyncClient(base_url="http://{}:{}".format(*where.getsockname()), trust_env=False) as client:
            answer = asyncio.create_task(client.get("/"))
            await asyncio.wait_for(asked.wait(), 10)
            serving.cancel()
            assert ((await answer).status_code, (await answer).text) == (200, "as it is")
    await asyncio.gather(serving, return_exceptions=True)
