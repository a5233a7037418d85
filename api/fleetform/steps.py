"""Named points at the boundaries of side effects, where a program can be made to die. Standard library only.

FLEETFORM_CRASH_AT=NAME[:N]   the process ends itself by SIGKILL when it passes the step NAME for the N-th time, in each of its lives
FLEETFORM_CRASH_AT=/PATH      as the first line of the file there says, which is read at every step; the line is removed before the death

The second form is for whoever tests that any line may be the last: one death for each line, after which the program comes back and
goes on. NAME[:N] may be followed by ` stop`: then it is SIGSTOP, and whoever sends SIGCONT lets the program go on at that very point.
Unset, a step is one comparison.
"""

import contextlib
import os
import signal
from enum import StrEnum
from pathlib import Path
from typing import Final

VARIABLE: Final = "FLEETFORM_CRASH_AT"


class Step(StrEnum):
    """Every step, by the program that passes it. `before`: the effect has not begun; `written`: all but the COMMIT."""

    LEASE_BEFORE_TAKE = "server.lease.before_take"
    LEASE_TAKEN = "server.lease.taken"
    LEASE_BEFORE_RENEW = "server.lease.before_renew"
    LEASE_RENEWED = "server.lease.renewed"
    PUT_WRITTEN = "server.endpoint_put.written"
    PUT_COMMITTED = "server.endpoint_put.committed"
    DELETE_WRITTEN = "server.endpoint_delete.written"
    DELETE_COMMITTED = "server.endpoint_delete.committed"
    VERDICT_WRITTEN = "server.verdict.written"
    VERDICT_COMMITTED = "server.verdict.committed"
    RESERVE_BEFORE = "server.reserve.before"
    RESERVED = "server.reserve.after"
    RECORD_WRITTEN = "server.record.written"
    RECORD_COMMITTED = "server.record.committed"
    RELEASE_BEFORE = "server.release.before"
    RELEASED = "server.release.after"
    START_BEFORE = "server.start.before"
    START_SENT = "server.start.sent"
    STOP_BEFORE = "server.stop.before"
    STOP_SENT = "server.stop.sent"
    FORGET_BEFORE = "server.forget.before"
    FORGET_SENT = "server.forget.sent"
    EVICT_SENDING = "server.evict.before"
    EVICT_SENT = "server.evict.sent"
    VERIFY_BEFORE = "server.verify.before"
    VERIFY_SENT = "server.verify.sent"
    PUBLISH_BEFORE = "server.publish.before"
    PUBLISHED = "server.publish.after"
    COMMAND_ADMITTED = "host.command.admitted"
    COMMAND_DONE = "host.command.done"
    COMMAND_REMEMBERED = "host.command.remembered"
    HOST_RECORD_BEFORE = "host.record.before"
    HOST_RECORD_SAVED = "host.record.saved"
    SPAWN_BEFORE = "host.spawn.before"
    PROCESS_RECORDED = "host.spawn.process_recorded"
    SPAWNED = "host.spawn.after"
    CANARY_BEFORE = "host.canary.before"
    CANARY_PASSED = "host.canary.passed"
    DRAIN_BEFORE = "host.drain.before"
    DRAINED = "host.drain.after"
    END_BEFORE = "host.end.before"
    GROUP_GONE = "host.end.after"
    CLEAN_BEFORE = "host.clean.before"
    CLEANED = "host.clean.after"
    SLEEP_BEFORE = "host.sleep.before"
    SLEPT = "host.sleep.after"
    SLEEPER_RECORDED = "host.sleep.recorded"
    WAKE_CLAIMED = "host.wake.claimed"
    WAKE_BEFORE = "host.wake.before"
    WOKEN = "host.wake.after"
    FORK_END_BEFORE = "host.fork.end_before"
    FORK_ENDED = "host.fork.ended"
    FORK_JUDGED_BEFORE = "host.fork.judged_before"
    FORK_JUDGED = "host.fork.judged"
    EVICT_BEFORE = "host.evict.before"
    EVICT_GROUP_GONE = "host.evict.group_gone"
    EVICTED = "host.evict.after"
    FREEZE_BEFORE = "host.freeze.before"
    FREEZING = "host.freeze.begun"
    FROZEN = "host.freeze.after"
    FREEZE_RECORDED = "host.freeze.recorded"
    THAW_CLAIMED = "host.thaw.claimed"
    THAW_BEFORE = "host.thaw.before"
    THAWING = "host.thaw.begun"
    THAWED = "host.thaw.after"
    THAW_RECORDED = "host.thaw.recorded"
    DISCARD_BEFORE = "host.discard.before"
    DISCARDED = "host.discard.after"
    HOST_FORGET_BEFORE = "host.forget.before"
    FORGOTTEN = "host.forget.after"
    SNAPSHOT_BEFORE = "host.snapshot.before"
    SNAPSHOT_STORED = "host.snapshot.stored"
    ADS_TOLD = "host.ads.told"


class _Switch:
    """Where to die. source: the variable's text."""

    def __init__(self, source: str) -> None:
        self._file = Path(source) if source.startswith("/") else None
        self._wish = source
        self._passed = 0
        if self._file is None and self._read()[0] not in frozenset(Step):
            raise ValueError(f"{VARIABLE} is {source!r}; the steps are {', '.join(Step)}")

    def pass_by(self, name: Step) -> None:
        wanted, number, end = self._read()
        if name != wanted:
            return
        self._passed += 1
        if self._passed != number:
            return
        if self._file is not None:
            _drop_first_line(self._file)
            self._wish = ""
        os.kill(os.getpid(), end)

    def _read(self) -> tuple[str, int, signal.Signals]:
        """The step's name, empty for none, which passing of it, and the signal."""
        if self._file is not None:
            lines: list[str] = []
            with contextlib.suppress(OSError):
                lines = self._file.read_text().splitlines()
            wish = lines[0] if lines else ""
            if wish != self._wish:
                self._wish, self._passed = wish, 0
        where, _, how = self._wish.partition(" ")
        name, _, number = where.partition(":")
        return name, int(number) if number.isdigit() else 1, signal.SIGSTOP if how == "stop" else signal.SIGKILL


def _drop_first_line(file: Path) -> None:
    """Leave the rest of the lines, or no file when there are none."""
    rest = file.read_text().splitlines()[1:]
    if not rest:
        file.unlink()
        return
    temporary = file.with_name(f"{file.name}.new")
    temporary.write_text("\n".join(rest) + "\n")
    temporary.replace(file)


def step(name: Step) -> None:
    """The program is at this point now; it may be its last."""
    if _switch is not None:
        _switch.pass_by(name)


_switch = _Switch(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None
