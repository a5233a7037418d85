"""An endpoint without a device goes to zero and is taken from disk by the next request; deleted, it leaves nothing there."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.shop import PROJECT, Shop
from tests.e2e.test_warm_pool import give_devices, replicas
from tests.harness.stack import Stack
from tests.harness.waiting import until
from tests.host.icy import pretend_criu
from tests.host.warm import Devices

pytestmark = [pytest.mark.envoy, pytest.mark.postgres, pytest.mark.timeout(300)]


@pytest.fixture
def shop() -> Iterator[Shop]:
    """A stack whose worker has a CRIU and takes the stub for an engine that can be put on disk."""
    programs = Path(tempfile.mkdtemp(prefix="ffc-", dir="/tmp"))
    devices = Devices(programs)
    (programs / "nvidia-smi").unlink()
    pretend_criu(programs)
    with Stack({"FLEETFORM_SNAPSHOTS_MIB": "2000"}) as stack:
        made = Shop(stack)
        give_devices(stack, devices)
        made.register("v1")
        yield made
    shutil.rmtree(programs)


def test_an_endpoint_goes_to_disk_and_back_and_leaves_nothing_when_it_is_deleted(shop: Shop) -> None:
    folder = shop.stack.home / "host" / "snapshots"
    bounds = ("--min-replicas", "0", "--max-replicas", "1", "--idle", "30s", "--instance-type", "tiny")
    shop.run("endpoint", "create", "--project", PROJECT, "--name", "chat", "--model", "m:v1", *bounds, "--wait")
    spoke = shop.ask("chat").split()[0]

    def at_zero() -> bool:
        status = shop.get("chat")["status"]
        return bool(status["phase"] == "ScaledToZero" and status["replicas"]["draining"] == 0)

    until("nothing runs", at_zero, timeout_s=120, every_s=0.5)
    until("no replica is left", lambda: replicas(shop) == [], timeout_s=60, every_s=0.5)
    assert shop.engines() == []
    assert len(list(folder.iterdir())) == 1
    assert "Snapshots: 1 on disk" in shop.run("status")
    assert json.loads(shop.run("status", "--output", "json"))["snapshots"].startswith("1 on disk")
    shop.run("fleetcheck")

    assert shop.ask("chat").split()[0] == spoke, "the same engine answers"
    (replica,) = replicas(shop)
    assert [phase["name"] for phase in replica["phases"]] == ["place", "restore", "canary", "routed"]
    assert list(folder.iterdir()) == []
    shop.run("fleetcheck")

    until("nothing runs again", at_zero, timeout_s=120, every_s=0.5)
    until("it is on disk again", lambda: len(list(folder.glob("*/record.json"))) == 1, timeout_s=60)
    shop.delete("chat")
    assert list(folder.iterdir()) == []
    assert shop.engines() == []
    assert "Snapshots: 0 on disk" in shop.run("status")
