"""Devices of a machine whose `nvidia-smi` is a script: found, idle memory kept, memory that does not come back, MIG refused."""

import asyncio
import os
from pathlib import Path
from unittest import mock

import pytest

from fleetform import settings as fleetform_settings
from fleetform.domain.protocol import HostReplicaState
from fleetform.errors import SetupError
from fleetform.host import worker
from fleetform.host.layout import Layout
from fleetform.host.ledger import MEMORY_KEPT_MIB, Ledger, discover, kind_of, parse_devices

S = HostReplicaState
ONE, TWO = "GPU-11111111-1111-1111-1111-111111111111", "GPU-22222222-2222-2222-2222-222222222222"


class Gpus:
    """An nvidia-smi that reads what it says from files, so that a test changes it while a worker runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir()
        script = folder / "nvidia-smi"
        script.write_text(f'#!/bin/sh\ncase "$1" in\n*compute-apps*) cat {folder}/apps ;;\n*) cat {folder}/devices ;;\nesac\n')
        script.chmod(0o755)
        self.say({ONE: 23_900, TWO: 23_900})

    def say(self, free: dict[str, int], apps: str = "", mig: str = "Disabled") -> None:
        rows = [f"{uuid}, NVIDIA A10, 24564, {mib}, {index}, {mig}" for index, (uuid, mib) in enumerate(free.items())]
        for name, text in (("devices", "\n".join(rows) + "\n"), ("apps", apps)):
            (self.folder / f"{name}.new").write_text(text)
            (self.folder / f"{name}.new").rename(self.folder / name)

    @property
    def path(self) -> str:
        return f"{self.folder}:{os.environ['PATH']}"


@pytest.fixture
def gpus(tmp_path: Path) -> Gpus:
    return Gpus(tmp_path / "gpus")


@pytest.fixture
async def ledger(gpus: Gpus, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    monkeypatch.setenv("PATH", gpus.path)
    return await discover("host-1", None, None, {})


@pytest.mark.anyio
async def test_devices_are_found_by_uuid(ledger: Ledger) -> None:
    assert [(d.uuid, d.kind, d.memory_mib, d.memory_free_idle_mib) for d in ledger.capacity.devices] == [
        (ONE, "a10", 24_564, 23_900),
        (TWO, "a10", 24_564, 23_900),
    ]
    assert ledger.capacity.cpu_millis == len(os.sched_getaffinity(0)) * 4000
    assert ledger.capacity.memory_mib > 0


@pytest.mark.anyio
async def test_settings_override_what_the_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    found = await discover("host-1", 1500, 2048, {})
    assert (found.capacity.cpu_millis, found.capacity.memory_mib, found.capacity.devices) == (1500, 2048, ())


@pytest.mark.anyio
async def test_a_machine_with_devices_keeps_a_quarter_of_its_memory_for_engines_that_sleep(
    gpus: Gpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", gpus.path)
    without, usual = await discover("host-1", None, None, {}, 0), await discover("host-1", None, None, {})
    assert usual.warm_pool_mib == (without.capacity.memory_mib + MEMORY_KEPT_MIB) // 4
    assert usual.capacity.memory_mib == without.capacity.memory_mib - usual.warm_pool_mib
    given = await discover("host-1", None, 2048, {}, 1024)
    assert (given.capacity.memory_mib, given.warm_pool_mib) == (2048, 1024)
    monkeypatch.setenv("PATH", "/nowhere")
    assert (await discover("host-1", None, None, {}, 1024)).warm_pool_mib == 0


@pytest.mark.anyio
async def test_what_sleeps_on_a_device_is_not_waited_for(gpus: Gpus, ledger: Ledger) -> None:
    gpus.say({ONE: 23_000, TWO: 23_900})
    assert await ledger.busy([ONE]) is not None
    assert await ledger.residue([ONE, TWO, "GPU-x"]) == {ONE: 900, TWO: 0, "GPU-x": 0}
    ledger.asleep_mib = {ONE: 900}
    assert await ledger.busy([ONE]) is None
    assert await ledger.residue([ONE]) == {ONE: 0}
    gpus.say({ONE: 20_000, TWO: 23_900})
    assert await ledger.busy([ONE]) is not None
    assert await ledger.residue([ONE]) == {ONE: 3_000}


@pytest.mark.anyio
async def test_idle_memory_is_remembered_while_engines_hold_some(gpus: Gpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", gpus.path)
    gpus.say({ONE: 1_000, TWO: 23_900})
    found = await discover("host-1", None, None, {ONE: 23_900, TWO: 20_000})
    assert [d.memory_free_idle_mib for d in found.capacity.devices] == [23_900, 23_900]


@pytest.mark.anyio
async def test_a_device_is_busy_until_its_memory_is_back_and_says_who_holds_it(gpus: Gpus, ledger: Ledger) -> None:
    assert await ledger.busy([ONE, TWO]) is None
    gpus.say({ONE: 5_000, TWO: 23_800}, apps=f"{ONE}, 4242\n")
    said = await ledger.busy([ONE, TWO])
    assert said is not None
    assert ONE in said
    assert "4242" in said
    assert await ledger.busy([TWO]) is None
    gpus.say({TWO: 23_800})
    assert await ledger.busy([ONE]) == f"device {ONE} does not answer"


@pytest.mark.anyio
@pytest.mark.parametrize("odd", ["[N/A]", "[Unknown Error]"])
async def test_a_device_that_does_not_tell_its_memory_is_not_offered(gpus: Gpus, ledger: Ledger, odd: str) -> None:
    """One that has fallen off the bus, or that shares the memory of the machine: the others are offered all the same."""
    text = (gpus.folder / "devices").read_text().replace("23900", odd, 1)
    assert [device.uuid for device in parse_devices(text)] == [TWO]
    (gpus.folder / "devices").write_text(text)
    assert await ledger.busy([ONE]) == f"device {ONE} does not answer"
    assert await ledger.busy([TWO]) is None


@pytest.mark.anyio
async def test_a_driver_in_which_even_a_kill_hangs_holds_nobody_up(gpus: Gpus, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = mock.Mock(communicate=asyncio.Event().wait, wait=asyncio.Event().wait)
    monkeypatch.setattr(asyncio, "create_subprocess_exec", mock.AsyncMock(return_value=stuck))
    monkeypatch.setattr("fleetform.host.ledger.QUERY_TIMEOUT_S", 0.01)
    async with asyncio.timeout(5):
        assert await ledger.busy([ONE]) == f"device {ONE} does not answer"
    stuck.kill.assert_called_once_with()


@pytest.mark.anyio
async def test_a_program_that_went_away_is_a_device_that_does_not_answer(gpus: Gpus, ledger: Ledger) -> None:
    (gpus.folder / "nvidia-smi").unlink()
    assert await ledger.busy([ONE]) == f"device {ONE} does not answer"


@pytest.mark.anyio
async def test_a_driver_that_is_late_costs_no_knowledge_of_its_devices(gpus: Gpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", gpus.path)
    settings = fleetform_settings.load({"FLEETFORM_HOME": str(tmp_path / "home"), "XDG_RUNTIME_DIR": str(tmp_path)})
    layout = Layout(settings)
    await worker._discover(settings, layout)
    gpus.say({})
    assert (await worker._discover(settings, layout)).capacity.devices == ()
    gpus.say({ONE: 1_000, TWO: 1_000})
    found = await worker._discover(settings, layout)
    assert [device.memory_free_idle_mib for device in found.capacity.devices] == [23_900, 23_900]


@pytest.mark.parametrize("row", ["", "garbage", "No devices were found", "GPU-1, NVIDIA A10"])
def test_what_is_no_device_is_none(row: str) -> None:
    assert parse_devices(row) == ()


def test_mig_is_refused_with_the_remedy() -> None:
    with pytest.raises(SetupError, match="nvidia-smi -i 0 -mig 0"):
        parse_devices(f"{ONE}, NVIDIA A100-SXM4-80GB, 81920, 81000, 0, Enabled\n")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("NVIDIA A10", "a10"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("Tesla T4", "t4"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("NVIDIA L40S", "l40s"),
    ],
)
def test_a_product_name_becomes_a_kind(name: str, kind: str) -> None:
    assert kind_of(name) == kind


@pytest.mark.anyio
async def test_a_device_of_another_host_is_refused(ledger: Ledger) -> None:
    assert await ledger.busy(["GPU-x"]) == "this host has no device GPU-x"
