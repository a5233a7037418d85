"""F1: from the order to start a replica until its canary is answered: forked by the zygote ÷ started plainly. The same tiny model for both.

Real vLLM on this machine's CPU, in pairs, one start at a time, each ended before the next. Both sides are what a host worker does: fetch
from its cache, verify, start, warm-up, canary. One start of each kind goes before, unmeasured: it fills the caches of files and of
inspected model classes, which helps the plain side more.
"""

import statistics
import sys
from contextlib import ExitStack

from benchmarks.report import report
from fleetform.domain.model import Manifest
from fleetform.domain.protocol import HostReplica, HostReplicaState
from tests.engines.tiny_models import write_tiny_chat_model
from tests.host.machine import Machine

PAIRS = 3
BOUND = 0.15
START_TIMEOUT_S = 600


class Side:
    """One machine that starts the same model again and again."""

    def __init__(self, machine: Machine, step: str) -> None:
        self.machine = machine
        self.step = step
        self.starts: list[dict[str, float]] = []
        folder = machine.root / "models" / "tiny"
        write_tiny_chat_model(folder, seed=1)
        self.artifact = f"file://{folder}/"
        manifest = machine.verify(self.artifact).manifest
        assert manifest is not None
        self.manifest: Manifest = manifest

    def start(self) -> float:
        """Seconds until the canary was answered. AssertionError when it was started the other way."""
        replica_id = f"r{len(self.starts)}"
        self.machine.command(
            self.machine.start_command(replica_id, self.artifact, self.manifest, start_timeout_s=START_TIMEOUT_S),
        )
        phases = _phases(self.machine.await_state(HostReplicaState.SERVING, replica_id, timeout_s=START_TIMEOUT_S))
        assert phases.get(self.step), f"not a {self.step}: {phases}"
        self.starts.append(phases)
        self.machine.stop_replica(replica_id)
        self.machine.await_state(HostReplicaState.EXITED, replica_id, timeout_s=60)
        return sum(phases.values())


def main() -> None:
    """Pair after pair; the ratio is that of the medians."""
    with ExitStack() as stack:
        sides = []
        for step in ("launch", "fork"):
            machine = stack.enter_context(Machine())
            machine.start_supervisor()
            machine.start_worker()
            sides.append(Side(machine, step))
        sides[1].machine.start_zygote()
        for side in sides:
            side.start()
        seconds: tuple[list[float], list[float]] = ([], [])
        for pair in range(PAIRS):
            for side, found in zip(sides, seconds, strict=True):
                found.append(side.start())
            print(f"pair {pair + 1}: plain {seconds[0][-1]:.1f} s, forked {seconds[1][-1]:.2f} s", file=sys.stderr)
    plain, forked = map(statistics.median, seconds)
    ours = f"forked {forked:.2f} s ({_told(sides[1].starts[-1])})"
    report("F1", forked / plain, BOUND, ours, f"plain {plain:.1f} s ({_told(sides[0].starts[-1])}), {PAIRS} pairs", at_most=True)


def _phases(replica: HostReplica) -> dict[str, float]:
    ended = [(phase.name, phase.started_at, phase.ended_at) for phase in replica.phases]
    return {name: (end - start).total_seconds() for name, start, end in ended if end is not None}


def _told(phases: dict[str, float]) -> str:
    return ", ".join(f"{name} {seconds:.2f}" for name, seconds in phases.items())


if __name__ == "__main__":
    main()
