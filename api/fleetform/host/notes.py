"""How processes ended, written down by whoever is their parent: the supervisor, or the zygote. Standard library only."""

import os
import time
from pathlib import Path

from fleetform.host import processes, records
from fleetform.host.processes import Identity

EXITS_KEPT = 1000


def next_exit() -> tuple[Identity, str] | None:
    """One child that has ended, reaped, with how it ended: `exit 3` or `signal 9`. None when there is no more."""
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    if found is None:
        return None
    # Looked at before it is reaped: only a zombie still tells its start time.
    identity = processes.identify(found.si_pid)
    os.waitpid(found.si_pid, 0)
    assert identity is not None
    return identity, f"{'exit' if found.si_code == os.CLD_EXITED else 'signal'} {found.si_status}"


def write(exits: Path, identity: Identity, status: str) -> None:
    """`exits/<pid>-<start ticks>.json`, where `exits.ended` looks; the oldest are dropped beyond EXITS_KEPT. OSError: the disk is full."""
    value = {"status": status, "boot_id": identity.boot_id, "at": time.time()}
    records.write_json(exits / f"{identity.pid}-{identity.start_ticks}.json", value)
    kept = sorted(exits.glob("*.json"), key=_written_at)
    for old in kept[:-EXITS_KEPT]:
        old.unlink(missing_ok=True)


def _written_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # the other writer was quicker
        return 0.0
