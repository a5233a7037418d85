"""Row 24: an engine that the kernel kills for want of memory is named so, by the kernel's counter and not by its exit status."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetform.domain.machine import EngineSpec
from fleetform.domain.protocol import HostReplicaState
from fleetform.domain.replica import FailureReason
from tests.host.machine import STUB_ARGV, Machine

S = HostReplicaState
MEMORY = Path("/sys/fs/cgroup/memory")
LIMIT_BYTES = 50 << 20
HUNGRY = "x = [bytearray(1 << 20) for _ in range(400)]"


@pytest.fixture
def small_group() -> Iterator[Path]:
    """A memory cgroup of 50 MiB."""
    group = MEMORY / f"fleetform-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(LIMIT_BYTES))
    except OSError as error:
        pytest.skip(f"`mkdir {group}` says: {error}")
    yield group
    group.rmdir()


def test_row_24_an_engine_in_a_small_cgroup_is_named_as_out_of_memory(worker: Machine, small_group: Path) -> None:
    script = f'echo $$ > {small_group}/cgroup.procs; exec "{sys.executable}" -S -c "{HUNGRY}" "$@"'
    worker.start_replica(engine=EngineSpec(argv=["/bin/sh", "-c", script, "sh", *STUB_ARGV]))
    failed = worker.await_state(S.EXITED)
    assert failed.exit_code == 137
    assert failed.failure is FailureReason.OOM_KILLED


def test_row_24_a_killed_engine_is_not_taken_for_one_without_memory(worker: Machine) -> None:
    worker.start_replica(mode="oom")  # ends by SIGKILL as the kernel would do it, but no counter moves
    assert worker.await_state(S.EXITED).failure is FailureReason.CRASHED
