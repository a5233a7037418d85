"""The root process of a machine: starts its children, restarts them, collects every exit status, adopts them after its own death.

Standard library only, one thread. A child is a JSON file `host/children/<name>.json`:

    {"name": "envoy", "order": 30, "argv": [...], "env": {...}, "cwd": "/…", "log": "/…/envoy.log",
     "start_after": ["/…/ads.sock"], "stop_signal": "SIGTERM", "stop_timeout_s": 10}

With "exchange": true a changed spec starts the new process beside the old one, which must end by itself; `{epoch}` in argv counts them.
env is the child's whole environment. start_after: paths that must exist first. Children start in growing order and stop in falling order.
A spec that changed or vanished takes effect on SIGHUP: the child is restarted or stopped. SIGTERM stops all children and then us.

Every child is a session of its own, so that neither our death nor a terminal's end reaches it. Engines whose worker died become our
children (PR_SET_CHILD_SUBREAPER); their exit status is written to `host/exits/<pid>-<start ticks>.json`, where the worker looks.
"""

import argparse
import contextlib
import ctypes
import os
import select
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from fleetform.host import logs, notes, processes, records
from fleetform.host.children import Child, Spec, end_unwanted, read_spec, say
from fleetform.host.processes import Identity

PR_SET_CHILD_SUBREAPER = 36
WAIT_POLL_S = 0.1
ROTATE_EVERY_S = 5.0
FAILED_WAIT_S = 1.0
STOP_TRIES = 5
ALREADY_RUNS = 3


class Supervisor:
    """The loop. home: FLEETFORM_HOME."""

    def __init__(self, home: Path) -> None:
        host = home / "host"
        self.specs = records.private_directory(host / "children")
        self.records = records.private_directory(host / "running")
        self.exits = records.private_directory(host / "exits")
        self.record = host / "supervisor.json"
        self.log = home / "logs" / "supervisor.log"
        self.children: dict[str, Child] = {}
        self.stopping = False
        self.rescan = True
        self.scan_at = 0.0
        self.rotate_at = 0.0

    def run(self) -> None:
        """Until SIGTERM or SIGINT."""
        wake = self._prepare()
        while not self.stopping:
            try:
                self._look()
            except OSError as error:  # one file or process that cannot be read must not end whoever looks after all others
                say(f"cannot look after everything: {error}")
                self.rescan = True
                time.sleep(FAILED_WAIT_S)
            self._sleep(wake)
        for child in reversed(self._in_order()):
            self._stop(child)
        with contextlib.suppress(OSError):  # it names a process that is gone, which whoever reads it sees
            records.remove(self.record)
        say("stopped")

    def _stop(self, child: Child) -> None:
        """Stop it; where that fails, as without a free descriptor, try again: the others are to be stopped too."""
        for _ in range(STOP_TRIES):
            try:
                child.stop()
                self._reap()
            except OSError as error:
                say(f"{child.spec.name} cannot be stopped: {error}")
                time.sleep(FAILED_WAIT_S)
            else:
                return

    def _prepare(self) -> int:
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        wake, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGHUP, lambda *_: setattr(self, "rescan", True))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: setattr(self, "stopping", True))
        identity = processes.identify(os.getpid())
        assert identity is not None
        records.write_json(self.record, {"identity": identity._asdict(), "argv": sys.orig_argv, "cwd": str(Path.cwd())})
        return wake

    def _look(self) -> None:
        """Bring everything one step nearer to what the files say."""
        now = time.monotonic()
        if self.rescan and now >= self.scan_at:
            self.rescan = False
            try:
                self._scan()
            except OSError as error:  # what is known of the others holds
                say(f"cannot look after everything: {error}")
                self.rescan, self.scan_at = True, now + FAILED_WAIT_S
        self._reap()
        for child in self._in_order():
            if child.lost_its_sockets():
                say(f"{child.spec.name}: its sockets were removed; it is started anew")
                child.stop()
            if child.may_start(now):
                child.start()
        self._rotate(now)

    def _scan(self) -> None:
        """Bring the children in line with their files. A file that cannot be read leaves its child as it is, and so does no folder.

        OSError when something could not be looked at, once all the rest has been.
        """
        found: dict[str, Spec] = {}
        for path in sorted(path for path in self.specs.iterdir() if path.match("*.json")):
            spec = read_spec(path)
            if spec is not None:
                found[spec.name] = spec
            elif path.stem in self.children:
                found[path.stem] = self.children[path.stem].spec
        failures: list[OSError] = []
        for name in [*self.children, *(name for name in found if name not in self.children)]:
            try:
                self._follow(name, found.get(name))
            except OSError as error:
                failures.append(error)
        for record in self.records.glob("*.json"):
            if record.stem not in self.children and not (self.specs / record.name).exists():
                end_unwanted(record)
        if failures:
            raise failures[0]

    def _follow(self, name: str, spec: Spec | None) -> None:
        """Bring one child in line with its file; None: it has none any more."""
        child = self.children.get(name)
        if child is not None and spec != child.spec:
            if spec is not None and child.may_be_exchanged(spec):
                child.exchange(spec)
            else:
                child.stop()
                del self.children[name]
        if spec is not None and name not in self.children:
            child = Child(spec, self.records / f"{name}.json")
            # Ours once it is adopted: what may still run is not started beside itself.
            child.adopt()
            self.children[name] = child

    def _reap(self) -> None:
        """Collect every child that ended, ours and those reparented to us; then see which adopted ones ended unseen."""
        while (ended := notes.next_exit()) is not None:
            identity, status = ended
            self._write_exit(identity, status)
            child = self._child_of(identity)
            if child is not None:
                child.ended(status)
        for child in self.children.values():
            if child.identity is not None and not processes.alive(child.identity):
                child.ended("status unknown: it was not our child")

    def _child_of(self, identity: Identity) -> Child | None:
        return next((c for c in self.children.values() if c.identity is not None and c.identity == identity), None)

    def _write_exit(self, identity: Identity, status: str) -> None:
        try:
            notes.write(self.exits, identity, status)
        except OSError as error:  # a full disk must not end the supervisor; the worker then reports an unknown exit
            say(f"cannot record the exit of pid {identity.pid}: {error}")

    def _rotate(self, now: float) -> None:
        if now < self.rotate_at:
            return
        self.rotate_at = now + ROTATE_EVERY_S
        for log in (self.log, *(child.spec.log for child in self.children.values())):
            try:
                logs.rotate(log)
            except OSError as error:
                say(f"{log.name} cannot be rotated: {error}")

    def _sleep(self, wake: int) -> None:
        """Until a signal, the end of an adopted child, or the next thing to do."""
        poller = select.poll()
        poller.register(wake, select.POLLIN)
        for child in self.children.values():
            if child.pidfd is not None:
                poller.register(child.pidfd, select.POLLIN)
        waiting = self.rescan or any(child.identity is None for child in self.children.values())
        poller.poll((WAIT_POLL_S if waiting else ROTATE_EVERY_S) * 1000)
        try:
            while os.read(wake, 512):
                pass
        except BlockingIOError:
            pass

    def _in_order(self) -> list[Child]:
        return sorted(self.children.values(), key=lambda child: (child.spec.order, child.spec.name))


def main(argv: Sequence[str]) -> int:
    """Run the supervisor in the foreground. Exit status 0 after an orderly stop, 3 when one already runs for that home."""
    parser = argparse.ArgumentParser(prog="fleetform host", description="Run the host process of this machine.")
    parser.add_argument("--home", type=Path, default=Path(os.environ.get("FLEETFORM_HOME") or ".fleetform"))
    home = parser.parse_args(argv).home.resolve()
    os.umask(0o077)
    _open_standard_descriptors()
    lock = records.try_lock(records.private_directory(home / "host") / "supervisor.lock")
    if lock is None:
        say(f"a supervisor already runs for {home}")
        return ALREADY_RUNS
    Supervisor(home).run()
    os.close(lock)
    return 0


def _open_standard_descriptors() -> None:
    """Where somebody has closed them, a lock or a pipe of ours would take their numbers, and get our log's lines."""
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor <= 2:
        os.set_inheritable(descriptor, True)
        descriptor = os.open(os.devnull, os.O_RDWR)
    os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
