"""The shop with a model that real vLLM serves on this machine's processors, beside those of the stub."""

from pathlib import Path
from typing import Any

import httpx2

from fleetform.host import processes
from fleetform.host.processes import Identity
from tests.e2e.shop import PROJECT, Shop
from tests.engines.tiny_models import write_tiny_chat_model
from tests.harness.engines import Engine
from tests.harness.stack import Stack

PARTS = (b"vllm.entrypoints", b"VLLM::EngineCore", b"VLLM::Worker")
"""In the command lines of an engine's processes: its API server, its core and its worker."""
HELPER = b"resource_tracker"
"""In the command line of what Python starts beside an engine: it has no part in an answer."""


class RealShop(Shop):
    """A shop whose model `real` runs on vLLM: small enough that three engines fit on a machine with 24 GiB."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(stack)
        write_tiny_chat_model(self.models / "real", seed=1)
        self.run("quota", "set", "--project", PROJECT, "--instance-type", "cpu-small", "--max-replicas", "4")
        source = ("--artifact", f"file://{self.models}/real/", "--framework", "pytorch", "--runtime", "cpu")
        self.run("model", "register", "--project", PROJECT, "--name", "real", "--version", "v1", *source, "--wait")
        headers = {"authorization": f"Bearer {stack.environment['FLEETFORM_TOKEN']}"}
        self._api = httpx2.Client(base_url=stack.environment["FLEETFORM_BASE_URL"], headers=headers, timeout=10)

    def serve(self, name: str, *more: str, least: int = 1, most: int | None = None) -> str:
        """Create an endpoint of vLLM with least to most replicas (as many as least), and wait until it serves; the command's output."""
        where = ("--project", PROJECT, "--name", name, "--model", "real:v1", "--instance-type", "cpu-small")
        counts = ("--min-replicas", str(least), "--max-replicas", str(least if most is None else most))
        return self.stack.fleetform("endpoint", "create", *where, *counts, *more, "--wait", "--wait-timeout", "15m", timeout_s=960)

    def replicas(self, name: str) -> dict[str, str]:
        """Replica → phase, asked without the command line, which takes most of a second to start."""
        return {replica["id"]: replica["phase"] for replica in self._list(name, "replicas")}

    def events(self, name: str, reason: str) -> list[dict[str, Any]]:
        """What happened to an endpoint for that reason, newest first."""
        return [event for event in self._list(name, "events") if event["reason"] == reason]

    def _list(self, name: str, what: str) -> list[dict[str, Any]]:
        answer = self._api.get(f"/v1/projects/{PROJECT}/endpoints/{name}/{what}", params={"limit": 200})
        assert answer.status_code == 200, answer.text
        return list(answer.json()["items"])


def command(identity: Identity) -> bytes:
    """The command line of a process; empty when it is gone."""
    try:
        return Path(f"/proc/{identity.pid}/cmdline").read_bytes() if processes.alive(identity) else b""
    except OSError:
        return b""


def has_a_part(identity: Identity) -> bool:
    """True when answers of an engine need this process of it."""
    return HELPER not in command(identity)


def part_of(engine: Engine, part: bytes) -> Identity:
    """The process of an engine that is this one of PARTS; each kind is there once."""
    assert len([member for member in engine.members if has_a_part(member)]) == len(PARTS), "each kind has its turn"
    return next(member for member in engine.members if part in command(member))
