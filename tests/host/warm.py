"""A machine with two pretended devices whose memory stub engines hold, and give back when they sleep."""

import os
from pathlib import Path

from fleetform.domain.machine import EngineSpec
from fleetform.domain.model import Manifest
from fleetform.domain.protocol import EvictSleeping, HostReplica, HostReplicaState, SleepingEngine
from fleetform.host.processes import Identity
from tests.harness.waiting import until
from tests.host.machine import STUB_ARGV, Machine

ONE, TWO = "GPU-11111111-1111-1111-1111-111111111111", "GPU-22222222-2222-2222-2222-222222222222"
IDLE_MIB, TOTAL_MIB = 23_900, 24_564
ROOT = Path(__file__).parents[2]
S = HostReplicaState

_NVIDIA_SMI = """#!/bin/sh
case "$1" in *compute-apps*) exit 0 ;; esac
index=0
for uuid in {devices}; do
    free={idle}
    for file in {held}/$uuid.*; do
        # What a process that has ended held is free again; a zombie has no program any more.
        [ -e "/proc/${{file##*.}}/exe" ] && free=$((free - $(cat "$file")))
    done
    echo "$uuid, NVIDIA A10, {total}, $free, $index, Disabled"
    index=$((index + 1))
done
"""


class Devices:
    """An nvidia-smi that says what living processes hold by the files `held/<uuid>.<pid>`."""

    def __init__(self, folder: Path) -> None:
        self.held = folder / "held"
        self.held.mkdir(parents=True)
        program = folder / "nvidia-smi"
        program.write_text(_NVIDIA_SMI.format(devices=f"{ONE} {TWO}", idle=IDLE_MIB, total=TOTAL_MIB, held=self.held))
        program.chmod(0o755)
        self.folder = folder

    def hold(self, uuid: str, mib: int, pid: int | None = None) -> None:
        """Let a process, ourselves unless it is given, hold so much of a device; 0: nothing any more."""
        file = self.held / f"{uuid}.{pid or os.getpid()}"
        if mib:
            file.write_text(str(mib))
        else:
            file.unlink(missing_ok=True)


class WarmMachine(Machine):
    """A machine with devices and a pool of 8 GiB, on which the stub sleeps."""

    def __init__(self, variables: dict[str, str] | None = None) -> None:
        super().__init__({"FLEETFORM_WARM_POOL_MIB": "8192", **(variables or {})})
        self.devices = Devices(self.root / "gpus")
        self.worker: Identity | None = None
        self._artifacts: dict[str, tuple[str, Manifest]] = {}
        self.variables |= {"PATH": f"{self.devices.folder}:{self.variables['PATH']}", "PYTHONPATH": str(ROOT)}

    def start_worker(self) -> Identity:
        self.worker = self._start("tests.host.warm_worker", self.answers)
        return self.worker

    def serves(
        self, replica_id: str, devices: tuple[str, ...] = (ONE,), *, like: str = "r1", args: dict[str, str] | None = None, **stub: object
    ) -> HostReplica:
        """`begins`, and wait until it serves."""
        self.begins(replica_id, devices, like=like, args=args, **stub)
        return self.await_state(S.SERVING, replica_id)

    def begins(
        self, replica_id: str, devices: tuple[str, ...] = (ONE,), *, like: str = "r1", args: dict[str, str] | None = None, **stub: object
    ) -> None:
        """Command a replica of the artifact `like`, which is made with stub when it is asked for first."""
        artifact, manifest = self.artifact(like, **stub)
        stub_engine = EngineSpec(argv=STUB_ARGV)
        self.command(self.start_command(replica_id, artifact, manifest, engine=stub_engine, engine_args=args, devices=devices))

    def artifact(self, name: str, **stub: object) -> tuple[str, Manifest]:
        """The address and the manifest of an artifact, the same each time."""
        if name not in self._artifacts:
            self._artifacts[name] = self.model(name, device_directory=str(self.devices.held), **stub)
        return self._artifacts[name]

    def falls_asleep(self, replica_id: str = "r1") -> SleepingEngine:
        """Stop a replica that is to be kept; the engine that sleeps then."""
        before = {found.engine_id for found in self.sleeping()}
        self.stop_replica(replica_id, keep_warm=True)
        self.await_state(S.EXITED, replica_id)
        (found,) = [found for found in self.sleeping() if found.engine_id not in before]
        self.forget_replica(replica_id)
        return found

    def sleeping(self) -> tuple[SleepingEngine, ...]:
        return self.report().sleeping

    def evict(self, *engine_ids: str) -> None:
        """Command the end of engines that sleep, and wait for it."""
        self.command_evict(*engine_ids)
        until(f"{engine_ids} sleep no longer", lambda: not {found.engine_id for found in self.sleeping()} & {*engine_ids})

    def command_evict(self, *engine_ids: str) -> None:
        assert self.command(EvictSleeping(engine_ids=engine_ids)).accepted

    def engine_log(self, engine_id: str) -> str:
        return (self.settings.home / "logs" / "replicas" / f"{engine_id}.log").read_text()


def phases(replica: HostReplica) -> list[str]:
    """The names of its start's phases, in their order."""
    return [phase.name for phase in replica.phases]


def worker_of(machine: WarmMachine) -> Identity:
    """The worker that answers."""
    assert machine.worker is not None
    return machine.worker
