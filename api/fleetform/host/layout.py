"""Where the worker keeps things, below FLEETFORM_HOME and in the directory of sockets."""

import hashlib
import re
from pathlib import Path

from fleetform.host.farewells.deposit import SOCKET
from fleetform.host.records import private_directory
from fleetform.settings import Settings

INNER_SOCKET_MAX = 107 - 1 - 36
"""Room for the directory of an engine's inner sockets, which vLLM names by UUID."""
_REPLICA_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Layout:
    """Paths of one home. Directories are made when the layout is."""

    def __init__(self, settings: Settings) -> None:
        self.run = settings.run
        self.host = private_directory(settings.home / "host")
        self.replicas = private_directory(self.host / "replicas")
        self.sleepers = private_directory(self.host / "sleeping")
        self.snapshots = private_directory(self.host / "snapshots")
        self.commands = private_directory(self.host / "commands")
        self.exits = private_directory(self.host / "exits")
        self.logs = private_directory(settings.home / "logs" / "replicas")
        self.cache = private_directory(settings.home / "cache")
        self.engine_cache = private_directory(self.cache / "engines")
        self.epoch = self.host / "epoch"
        self.devices = self.host / "devices.json"
        self.lock = self.host / "worker.lock"
        self.supervisor = self.host / "supervisor.json"
        self.zygote = settings.zygote_socket
        self.zygote_record = self.host / "running" / "zygote.json"
        self.farewells = settings.run / SOCKET
        self.trust = self.host / "trust.json"
        self.supervisor_log = settings.home / "logs" / "supervisor.log"

    def record(self, replica_id: str) -> Path:
        return self.replicas / f"{replica_id}.json"

    def sleeper(self, engine_id: str) -> Path:
        """The record of an engine that sleeps. What an engine has lies under the id of the replica that launched it."""
        return self.sleepers / f"{engine_id}.json"

    def snapshot(self, engine_id: str) -> Path:
        """The folder of an engine that lies on disk."""
        return self.snapshots / engine_id

    def work(self, replica_id: str) -> Path:
        """The engine's working directory, by which processes of its session are known as ours."""
        return self.replicas / f"{replica_id}.d"

    def lock_of(self, replica_id: str) -> Path:
        return self.replicas / f"{replica_id}.lock"

    def log(self, replica_id: str) -> Path:
        return self.logs / f"{replica_id}.log"

    def socket(self, replica_id: str) -> Path:
        return self.run / f"r-{_tag(replica_id)}.sock"

    def scratch(self, replica_id: str) -> Path:
        """A short directory for an engine's temporary files and inner sockets; beside the sockets unless their path is too long for it."""
        name = f"r-{_tag(replica_id)}.d"
        beside = self.run / name
        return beside if len(str(beside).encode()) <= INNER_SOCKET_MAX else Path("/tmp") / f"ff-{name}"  # noqa: S108  # made 0700, once


def is_replica_id(text: str) -> bool:
    """True when text may become a file name here."""
    return _REPLICA_ID.fullmatch(text) is not None


def _tag(replica_id: str) -> str:
    """Twelve hex digits: a socket's name has 20 bytes."""
    return hashlib.sha256(replica_id.encode()).hexdigest()[:12]
