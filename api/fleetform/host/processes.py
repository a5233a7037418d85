"""Processes by identity: a signal never reaches a process that only happens to have the pid of one we knew.

Standard library only: the supervisor imports this. A process is the one we knew when boot id, PID namespace, pid and start time are
the same; its environment proves nothing, since variables set after a fork do not show there.
"""

import contextlib
import errno
import os
import select
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

ORPHAN_GRACE_S = 1.0
WAITED_FOR_AT_ONCE = 64
MAP = "forked"
_NO_SUCH_PROCESS = frozenset({errno.ESRCH, errno.EINVAL, errno.ENOENT})
"""How kernels say it of a pid that is free, or has become the number of a thread."""


class Identity(NamedTuple):
    """What makes a process that one process; the fields of domain.ProcessIdentity. start_ticks: field 22 of /proc/PID/stat."""

    boot_id: str
    pid_namespace: int
    pid: int
    start_ticks: int
    session_id: int


class Stat(NamedTuple):
    """The fields of /proc/PID/stat that are used here. cpu_ticks: processor time so far, of all of its threads."""

    pid: int
    state: str
    parent: int
    session_id: int
    start_ticks: int
    cpu_ticks: int


class Group(NamedTuple):
    """The living processes of a session. doubtful: perhaps a stranger's, because the leader is gone and nothing else proves them ours."""

    ours: tuple[Identity, ...] = ()
    doubtful: tuple[Identity, ...] = ()


def boot_id() -> str:
    """The kernel's id of this boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def pid_namespace() -> int:
    """The inode of our PID namespace."""
    return Path("/proc/self/ns/pid").stat().st_ino


def read_stat(pid: int) -> Stat | None:
    """The stat line of pid, or None when there is no such process, or /proc hides it (another user's). A zombie still has one."""
    try:
        fields = _stat_fields(pid)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    return Stat(
        pid=pid,
        state=fields[0].decode(),
        parent=int(fields[1]),
        session_id=int(fields[3]),
        start_ticks=int(fields[19]),
        cpu_ticks=int(fields[11]) + int(fields[12]),
    )


def exit_status(identity: Identity) -> int | None:
    """The wait status of that very process, as long as its parent has not asked for it; None otherwise."""
    try:
        fields = _stat_fields(identity.pid)
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(fields[49]) if fields[0] == b"Z" and int(fields[19]) == identity.start_ticks else None


def all_stats() -> list[Stat]:
    """Every process of this namespace, zombies included."""
    stats = (read_stat(int(entry)) for entry in os.listdir("/proc") if entry.isdigit())  # noqa: PTH208  # os.listdir is one call
    return [stat for stat in stats if stat is not None]


def identify(pid: int) -> Identity | None:
    """Who pid is now, or None when it is not there."""
    stat = read_stat(pid)
    return None if stat is None else _identity(stat)


def alive(identity: Identity) -> bool:
    """True while that very process runs. A zombie is dead; so is a process of another boot or namespace."""
    stat = _same(identity)
    return stat is not None and stat.state not in "ZX"


def open_pidfd(identity: Identity) -> int | None:
    """A pidfd of that very process, or None when it is gone. It becomes readable when the process ends; the caller closes it.

    OSError when that cannot be found out, as without a free descriptor: then nobody may say that it is gone.
    """
    try:
        descriptor = os.pidfd_open(identity.pid)
    except OSError as error:
        if error.errno in _NO_SUCH_PROCESS:
            return None
        raise
    # Checked after opening: from here on the descriptor cannot come to mean another process.
    try:
        is_same = _same(identity) is not None
    except OSError:
        os.close(descriptor)
        raise
    if is_same:
        return descriptor
    os.close(descriptor)
    return None


def send(identity: Identity, number: signal.Signals) -> bool:
    """Send a signal to that very process. False when it is gone; nobody else is ever signalled. OSError as in `open_pidfd`."""
    descriptor = open_pidfd(identity)
    if descriptor is None:
        return False
    try:
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True


def group(leader: Identity, home: Path) -> Group:
    """Who lives in the session that leader began in the directory home.

    While the leader is there the kernel vouches for its session. When its pid belongs to somebody else, the session is over. When the
    pid is free, a process of that session is ours if it works in home, which is inherited, and doubtful otherwise.
    """
    if (leader.boot_id, leader.pid_namespace) != (boot_id(), pid_namespace()):
        return Group()
    holder = read_stat(leader.pid)
    if holder is not None and holder.start_ticks != leader.start_ticks:
        return Group()
    found = [s for s in all_stats() if s.session_id == leader.session_id and s.state not in "ZX"]
    if holder is not None:
        return Group(ours=tuple(map(_identity, found)))
    younger = [s for s in found if s.start_ticks >= leader.start_ticks]
    ours = [s for s in younger if _works_in(s.pid, home)]
    return Group(ours=tuple(map(_identity, ours)), doubtful=tuple(_identity(s) for s in younger if s not in ours))


def end_strays(leader: Identity, home: Path, mark: str) -> None:
    """End, at once, whoever descends from leader and left its session; blocks until all are gone.

    mark: `NAME=value`, given to leader alone, so that whoever inherited it descends from leader. A process that was forked from a
    zygote shows no environment of its own; it is known by the file MAP in home, which leader has mapped and a fork inherits. One that
    dropped both is not found.
    """
    while strays := [s for s in all_stats() if _is_stray(s, leader, home, mark)]:
        found = [_identity(stat) for stat in strays]
        for stray in found:
            send(stray, signal.SIGKILL)
        wait_for_all(found, 1.0)


def end_group(leader: Identity, home: Path, grace_s: float, first: signal.Signals = signal.SIGTERM) -> bool:
    """End the whole session of leader; blocks until it is empty. True when the leader ended within grace_s of getting `first`.

    The leader passes its end on to its own. What outlives it gets SIGTERM and ORPHAN_GRACE_S more, then SIGKILL.
    """
    send(leader, first)
    wait_for_all([leader], grace_s)
    in_time = not alive(leader)
    if in_time:
        orphans = group(leader, home).ours
        for orphan in orphans:
            send(orphan, signal.SIGTERM)
        wait_for_all(orphans, ORPHAN_GRACE_S)
    while left := group(leader, home).ours:
        for member in left:
            send(member, signal.SIGKILL)
        wait_for_all(left, 1.0)
    return in_time


def works_in(identity: Identity, home: Path) -> bool:
    """True while that very process lives and works in that directory."""
    return alive(identity) and _works_in(identity.pid, home)


def wait_for_all(identities: Iterable[Identity], timeout_s: float) -> None:
    """Until every one of them has ended, or the time is over. A few at a time: they may be more than we may have descriptors."""
    deadline = time.monotonic() + timeout_s
    left = list(identities)
    for first in range(0, len(left), WAITED_FOR_AT_ONCE):
        _wait_for_some(left[first : first + WAITED_FOR_AT_ONCE], deadline)


def _wait_for_some(identities: Iterable[Identity], deadline: float) -> None:
    poller = select.poll()
    open_fds: set[int] = set()
    try:
        for identity in identities:
            descriptor = open_pidfd(identity)
            if descriptor is not None:
                open_fds.add(descriptor)
                poller.register(descriptor, select.POLLIN)
        waiting = set(open_fds)
        while waiting and (remaining := deadline - time.monotonic()) > 0:
            for descriptor, _ in poller.poll(remaining * 1000):
                poller.unregister(descriptor)
                waiting.discard(descriptor)
    finally:
        for descriptor in open_fds:
            os.close(descriptor)


def _stat_fields(pid: int) -> list[bytes]:
    """What stands behind the command's name, which is anybody's choice: it may contain parentheses and spaces, and need not be text."""
    text = Path(f"/proc/{pid}/stat").read_bytes()
    return text[text.rindex(b")") + 2 :].split()


def _same(identity: Identity) -> Stat | None:
    """The stat of that very process, zombies included, or None."""
    stat = read_stat(identity.pid)
    if stat is None or stat.start_ticks != identity.start_ticks:
        return None
    return stat if (identity.boot_id, identity.pid_namespace) == (boot_id(), pid_namespace()) else None


def _identity(stat: Stat) -> Identity:
    return Identity(boot_id(), pid_namespace(), stat.pid, stat.start_ticks, stat.session_id)


def _is_stray(stat: Stat, leader: Identity, home: Path, mark: str) -> bool:
    if stat.start_ticks < leader.start_ticks or stat.session_id == leader.session_id or stat.state in "ZX":
        return False
    with contextlib.suppress(OSError):
        if mark.encode() in Path(f"/proc/{stat.pid}/environ").read_bytes().split(b"\0"):
            return True
        return f" {home / MAP}\n".encode() in Path(f"/proc/{stat.pid}/maps").read_bytes()
    return False


def _works_in(pid: int, home: Path) -> bool:
    with contextlib.suppress(OSError):
        return os.path.samefile(f"/proc/{pid}/cwd", home)  # noqa: PTH121  # Path.samefile would resolve the link first
    return False
