"""The program itself, typed in a shell, against a server of its own on pretended machines: waiting, rollback, logs."""

import json
import subprocess
from collections.abc import Iterator

import pytest

from tests.harness.server import FLEETFORM, Server

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(120)]
CREATE = "endpoint create --name prod --model m:v1 --instance-type cpu-small --steps 100 --step-hold 0s --bake 0s --wait"


class Region:
    """A server on the fake driver, and a shell beside it with the project acme and three versions of the model m."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.environment = {
            **server.variables,
            "FLEETFORM_BASE_URL": server.base_url,
            "FLEETFORM_TOKEN": server.token,
            "FLEETFORM_PROJECT": "acme",
        }

    def __call__(self, *words: str, status: int = 0) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run([FLEETFORM, *words], env=self.environment, capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == status, done.stdout + done.stderr
        return done

    def typed(self, line: str, status: int = 0) -> "subprocess.CompletedProcess[str]":
        return self(*line.split(), status=status)

    def script(self, **faults: object) -> None:
        """What the pretended machines do wrong from now on; the artifact `bad` is always refused."""
        artifacts = {"file:///models/bad/": "PickleRefused"}
        (self.server.home / "fake-script.json").write_text(json.dumps({"artifacts": artifacts, **faults}))


@pytest.fixture(scope="module")
def region() -> Iterator[Region]:
    with Server() as server:
        shell = Region(server)
        shell.script()
        shell.typed("project create --name acme --artifact-prefix file:///models/")
        shell.typed("quota set --instance-type cpu-small --max-replicas 8")
        for version in ("v1", "v2", "v3"):
            words = f"model register --name m --version {version} --artifact file:///models/{version}/ --framework pytorch --runtime cpu"
            assert shell.typed(f"{words} --wait").stdout == f"m:{version} Verified\n"
        yield shell


def test_a_session(region: Region) -> None:
    assert "created and ready at http://127.0.0.1:" in region.typed(CREATE).stdout
    region("endpoint", "update", "--name", "prod", "--traffic-split", "v1=90,v2=10", "--wait")
    endpoint = json.loads(region.typed("endpoint get prod --output json").stdout)
    assert {name: variant["weight"] for name, variant in endpoint["status"]["live"]["variants"].items()} == {"v1": 90, "v2": 10}
    replicas = json.loads(region.typed("replicas --endpoint prod --output json").stdout)
    assert {replica["model_version"] for replica in replicas if replica["phase"] == "Ready"} == {"m:v1", "m:v2"}
    region.typed(f"logs --endpoint prod --replica {replicas[0]['id']}")
    assert "no replica" in region.typed("logs --endpoint prod --replica r-of-nobody", status=1).stderr
    region.script(engines={"m:v3": "crash"})
    broken = region.typed("endpoint update --name prod --traffic-split v3=100 --wait", status=1)
    assert "RolledBack" in broken.stderr
    assert "v1=90" in region.typed("endpoint get prod").stdout
    region.script()
    assert "updated and ready" in region.typed("endpoint update --name prod --traffic-split v1=100 --wait").stdout
    assert region.typed("endpoint delete prod --wait").stdout == "endpoint prod deleted\n"
    assert "list` verb" in region.typed("endpoint get prod", status=1).stderr


def test_a_refused_artifact_is_told(region: Region) -> None:
    words = "model register --name m --version bad --artifact file:///models/bad/ --framework pytorch --runtime cpu --wait"
    assert "PickleRefused" in region.typed(words, status=1).stderr
    refused = region.typed("endpoint create --name other --model m:bad --instance-type cpu-small --wait", status=1)
    assert "m:bad" in refused.stderr


def test_nobody_is_at_the_address(region: Region) -> None:
    environment = {**region.environment, "FLEETFORM_BASE_URL": "http://127.0.0.1:9"}
    done = subprocess.run([FLEETFORM, "endpoint", "list"], env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "cannot be reached" in done.stderr
    assert "fleetform up" in done.stderr
