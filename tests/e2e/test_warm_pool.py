"""An endpoint on a pretended device goes to zero and comes back as the engine that it was; deleted, it leaves no process."""

import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fleetform.host.children import recorded_identity
from tests.e2e.shop import PROJECT, Shop
from tests.harness.stack import Stack
from tests.harness.waiting import until
from tests.host.warm import ROOT, Devices

pytestmark = [pytest.mark.envoy, pytest.mark.postgres, pytest.mark.timeout(300)]


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """A stack whose worker has a device and takes the stub for an engine that can sleep."""
    devices = Devices(tmp_path / "gpus")
    with Stack({"FLEETFORM_WARM_POOL_MIB": "1024"}) as stack:
        made = Shop(stack)
        give_devices(stack, devices)
        size = ("--cpu-millis", "10", "--memory-mib", "64", "--accelerator", "a10", "--accelerator-count", "1")
        made.run("instance-type", "set", "--name", "gpu", *size)
        made.run("quota", "set", "--project", PROJECT, "--instance-type", "gpu", "--max-replicas", "2")
        made.register("v1", device_directory=str(devices.held))
        yield made
    shutil.rmtree(devices.folder)


def give_devices(stack: Stack, devices: Devices) -> None:
    """Have the supervisor start the worker of tests/host/warm_worker.py in the place of its own."""
    file = stack.home / "host" / "children" / "worker.json"
    spec = json.loads(file.read_text())
    spec["argv"] = [sys.executable, "-m", "tests.host.warm_worker"]
    spec["env"] |= {"PATH": f"{devices.folder}:{spec['env']['PATH']}", "PYTHONPATH": str(ROOT)}
    file.write_text(json.dumps(spec))
    supervisor = recorded_identity(stack.home / "host" / "supervisor.json")
    assert supervisor is not None
    os.kill(supervisor.pid, signal.SIGHUP)
    until("the other worker runs", lambda: stack.processes("tests.host.warm_worker"))


def replicas(shop: Shop) -> list[dict[str, Any]]:
    found = shop.stack.answer("replicas", "--project", PROJECT, "--endpoint", "chat")
    return list(found if isinstance(found, list) else found["items"])


def test_an_endpoint_goes_to_zero_and_is_woken_and_leaves_nothing_when_it_is_deleted(shop: Shop) -> None:
    bounds = ("--min-replicas", "0", "--max-replicas", "1", "--idle", "30s", "--instance-type", "gpu")
    where = ("--project", PROJECT, "--name", "chat", "--model", "m:v1")
    shop.run("endpoint", "create", *where, *bounds, "--wait")
    spoke = shop.ask("chat").split()[0]
    (engine,) = shop.engines()

    def at_zero() -> bool:
        status = shop.get("chat")["status"]
        return bool(status["phase"] == "ScaledToZero" and status["replicas"]["draining"] == 0)

    until("nothing runs", at_zero, timeout_s=120, every_s=0.5)
    assert shop.engines() == [engine], "it sleeps"
    assert "asleep acme/chat" in shop.run("status")
    assert replicas(shop) == []
    shop.run("fleetcheck")

    assert shop.ask("chat").split()[0] == spoke, "the same engine answers"
    assert shop.engines() == [engine]
    (replica,) = replicas(shop)
    names = [phase["name"] for phase in replica["phases"]]
    assert names == ["place", "wake", "canary", "routed"]
    shop.run("fleetcheck")

    until("nothing runs again", at_zero, timeout_s=120, every_s=0.5)
    assert shop.engines() == [engine]
    shop.delete("chat")
    assert shop.engines() == []
    assert "asleep" not in shop.run("status")
