"""A machine with a pretended CRIU, on which stub engines are put on disk and taken from there."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from fleetform.domain.protocol import HostHealth, HostReplica, SleepingEngine
from fleetform.domain.replica import Unix
from fleetform.host.snapshots.image import Frozen
from tests.builders import a_start_command
from tests.host.warm import WarmMachine

PROGRAM = Path(__file__).parents[1] / "engines" / "pretended_criu.py"


def pretend_criu(folder: Path) -> Path:
    """Put a CRIU there that tests/engines/pretended_criu.py is."""
    return write_program(folder / "criu", f'exec {sys.executable} -S {PROGRAM} {folder} "$@"')


def write_program(path: Path, line: str) -> Path:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)
    return path


def a_frozen(engine_id: str = "r1", **fields: Any) -> Frozen:
    """What is known of an engine on disk; by itself one of no process, with no file."""
    made = Frozen(
        engine_id=engine_id,
        fingerprint=f"word of {engine_id}",
        machine="m",
        start=a_start_command(engine_id),
        nonce="n",
        address=Unix(path="/nowhere"),
        pids=(),
        answer="",
        since=datetime.now(UTC),
        pieces=(),
        gone=(),
        files={},
        disk_mib=1,
    )
    return msgspec.structs.replace(made, **fields)


class IcyMachine(WarmMachine):
    """Without devices, unless devices is true: then with a pool too, and all that CRIU needs for them."""

    def __init__(self, *, devices: bool = False) -> None:
        super().__init__({"FLEETFORM_SNAPSHOTS_MIB": "10000"})
        self.programs = self.devices.folder
        self.criu = pretend_criu(self.programs)
        if devices:
            write_program(self.programs / "cuda-checkpoint", "exit 0")
            plugins = self.root / "lib" / "criu"
            plugins.mkdir(parents=True)
            (plugins / "cuda_plugin.so").touch()
        else:
            (self.programs / "nvidia-smi").unlink()

    def goes_wrong(self, how: str) -> None:
        """As tests/engines/pretended_criu.py says."""
        (self.programs / "goes-wrong").write_text(how)

    def serves(
        self, replica_id: str, devices: tuple[str, ...] = (), *, like: str = "r1", args: dict[str, str] | None = None, **stub: object
    ) -> HostReplica:
        return super().serves(replica_id, devices, like=like, args=args, **stub)

    def begins(
        self, replica_id: str, devices: tuple[str, ...] = (), *, like: str = "r1", args: dict[str, str] | None = None, **stub: object
    ) -> None:
        super().begins(replica_id, devices, like=like, args=args, **stub)

    def folder(self, engine_id: str) -> Path:
        """Where an engine lies on disk."""
        return self.settings.home / "host" / "snapshots" / engine_id

    def on_disk(self) -> list[str]:
        """Names of all that lies there, whole or not."""
        return sorted(path.name for path in (self.settings.home / "host" / "snapshots").iterdir())

    def told(self) -> str:
        """What the worker says of snapshots."""
        return msgspec.json.decode(self.call("GET", "/healthz").content, type=HostHealth).snapshots

    def freezes(self, replica_id: str = "r1") -> SleepingEngine:
        """Stop a replica that is to be kept; the engine that lies on disk then."""
        return self.falls_asleep(replica_id)
