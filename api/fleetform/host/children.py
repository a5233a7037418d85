"""A child of the supervisor: what its file says, the process that it is now, and when it may start again. Standard library only."""

import contextlib
import hashlib
import os
import signal
import time
from pathlib import Path
from typing import Any, NamedTuple

from fleetform.host import processes, records
from fleetform.host.launcher import launch
from fleetform.host.processes import Identity

BACK_OFF_MIN_S = 0.1
BACK_OFF_GROWTH = 4
BACK_OFF_MAX_S = 30.0
STEADY_AFTER_S = 10.0
RETIRED_MAX = 2
"""Envoy counts its epochs by three, and ends its predecessor when its successor comes. Ended by us, it would take the successor with it."""


class Spec(NamedTuple):
    """One child, as its file says. exchange: a changed one is started beside the one that runs, `{epoch}` of its argv counting them."""

    name: str
    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: Path
    log: Path
    order: int
    start_after: tuple[Path, ...]
    sockets: tuple[Path, ...]
    stop_signal: signal.Signals
    stop_timeout_s: float
    exchange: bool = False


class Child:
    """One child: its spec, the process that it is now (None: not running), and when it may be started next (monotonic).

    epoch: exchanges since it was started alone. retired: the processes before the last exchanges, while they finish what they have.
    """

    def __init__(self, spec: Spec, record: Path) -> None:
        self.spec = spec
        self.record = record
        self.identity: Identity | None = None
        self.retired: tuple[Identity, ...] = ()
        self.epoch = 0
        self.started_at = 0.0
        self.back_off_s = 0.0
        self.next_start_at = 0.0
        self.pidfd: int | None = None
        self.has_listened = False

    def adopt(self) -> None:
        """Take the recorded process for ours, if it still runs. One whose spec changed while no supervisor ran is ended or exchanged.

        What a dead one had begun to take over from is ended: it would keep its place from the next, which starts alone.
        """
        facts = records.read_json(self.record) or {}
        identity, self.retired = _identity(facts.get("identity")), _retired(facts)
        if identity is None or not processes.alive(identity):
            self._end_retired()
            return
        self._watch(identity)
        epoch = facts.get("epoch")
        self.epoch = epoch if isinstance(epoch, int) else 0
        if facts.get("spec") == _digest(self.spec):
            say(f"{self.spec.name}: adopted pid {identity.pid}")
        elif facts.get("exchange") and self.may_be_exchanged(self.spec):
            self.exchange(self.spec)
        else:
            say(f"{self.spec.name}: pid {identity.pid} was started from another spec")
            self.stop()

    def start(self) -> None:
        """Start it; its record is on disk before it runs.

        Sockets that its predecessor left are removed: they would pass for its own, and their removal by the child for a loss.
        """
        try:
            self.spec.log.parent.mkdir(parents=True, exist_ok=True)
            for path in self.spec.sockets:
                path.unlink(missing_ok=True)
            argv = [word.replace("{epoch}", str(self.epoch)) for word in self.spec.argv] if self.spec.exchange else self.spec.argv
            identity = launch(argv, self.spec.env, self.spec.cwd, self.spec.log, self._write_record)
        except OSError as error:
            say(f"{self.spec.name}: cannot be started: {error}")
            self.note_end(time.monotonic())
            return
        self._watch(identity)
        say(f"{self.spec.name}: started pid {identity.pid}")

    def exchange(self, spec: Spec) -> None:
        """Start it as spec says beside the process that runs, which gives its work over and ends by itself."""
        assert self.identity is not None
        say(f"{spec.name}: pid {self.identity.pid} is exchanged")
        self.retired, self.spec, self.epoch = (*self._living_retired(), self.identity), spec, self.epoch + 1
        self._unwatch()
        self.start()

    def ended(self, status: str) -> None:
        """It ended by itself: to be started again, alone, after the back-off."""
        self._unwatch()
        self._end_retired()
        self.epoch = 0
        self.note_end(time.monotonic())
        say(f"{self.spec.name}: ended ({status}); starts again in {self.back_off_s:g} s")

    def stop(self) -> None:
        """End its whole session and drop its record. Blocks for at most its stop timeout and a moment."""
        if self.identity is not None:
            in_time = processes.end_group(self.identity, self.spec.cwd, self.spec.stop_timeout_s, self.spec.stop_signal)
            say(f"{self.spec.name}: stopped" if in_time else f"{self.spec.name}: killed after {self.spec.stop_timeout_s:g} s")
        self._unwatch()
        self._end_retired()
        self.epoch = 0
        try:
            records.remove(self.record)
        except OSError as error:  # it names a process that is gone, which whoever reads it sees
            say(f"{self.spec.name}: its record cannot be removed: {error}")

    def may_be_exchanged(self, spec: Spec) -> bool:
        """True when it runs, and what it is to become can be started beside it."""
        return self.identity is not None and self.spec.exchange and spec.exchange and len(self._living_retired()) < RETIRED_MAX

    def may_start(self, now: float) -> bool:
        """True when it is not running, its back-off is over and all it waits for is there."""
        return self.identity is None and now >= self.next_start_at and all(path.exists() for path in self.spec.start_after)

    def lost_its_sockets(self) -> bool:
        """True when it runs and has listened, and a socket of its own is gone: it cannot be reached before it is started again."""
        there = all(path.exists() for path in self.spec.sockets)
        self.has_listened = self.has_listened or there
        return self.identity is not None and self.has_listened and not there

    def note_end(self, now: float) -> None:
        """It ended, or could not be started, at now (monotonic): wait longer each time, from anew after a steady run."""
        steady = self.started_at and now - self.started_at >= STEADY_AFTER_S
        first = steady or not self.back_off_s
        self.back_off_s = BACK_OFF_MIN_S if first else min(self.back_off_s * BACK_OFF_GROWTH, BACK_OFF_MAX_S)
        self.next_start_at = now + self.back_off_s
        self.started_at = 0.0

    def _write_record(self, identity: Identity) -> None:
        spec = self.spec
        exchanged = {"exchange": spec.exchange, "epoch": self.epoch, "retired": [each._asdict() for each in self.retired]}
        how_to_stop = {"cwd": str(spec.cwd), "stop_signal": spec.stop_signal.name, "stop_timeout_s": spec.stop_timeout_s}
        facts = {"name": spec.name, "identity": identity._asdict(), "argv": list(spec.argv), "spec": _digest(spec)}
        records.write_json(self.record, {**facts, **how_to_stop, **exchanged})

    def _living_retired(self) -> tuple[Identity, ...]:
        return tuple(each for each in self.retired if processes.alive(each))

    def _end_retired(self) -> None:
        for each in self._living_retired():
            processes.end_group(each, self.spec.cwd, self.spec.stop_timeout_s, self.spec.stop_signal)
        self.retired = ()

    def _watch(self, identity: Identity) -> None:
        self.identity = identity
        self.has_listened = False
        self.started_at = time.monotonic()
        with contextlib.suppress(OSError):  # without one, an adopted child's end is seen some seconds later
            self.pidfd = processes.open_pidfd(identity)

    def _unwatch(self) -> None:
        self.identity = None
        if self.pidfd is not None:
            os.close(self.pidfd)
            self.pidfd = None


def read_spec(path: Path) -> Spec | None:
    """The child that path describes; None, and a line in the log, when it describes none."""
    value = records.read_json(path)
    try:
        if value is None:
            raise ValueError("it is not a JSON object")
        return Spec(
            name=str(value["name"]),
            argv=tuple(map(str, value["argv"])),
            env={str(key): str(item) for key, item in value["env"].items()},
            cwd=Path(value["cwd"]),
            log=Path(value["log"]),
            order=int(value.get("order", 0)),
            start_after=tuple(map(Path, value.get("start_after", []))),
            sockets=tuple(map(Path, value.get("sockets", []))),
            stop_signal=signal.Signals[value.get("stop_signal", "SIGTERM")],
            stop_timeout_s=float(value.get("stop_timeout_s", 10)),
            exchange=bool(value.get("exchange", False)),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        say(f"{path.name} describes no child: {error!r}")
        return None


def end_unwanted(record: Path) -> None:
    """End the process that record names, as its record says, and drop the record: its file went while no supervisor ran."""
    facts = records.read_json(record) or {}
    for identity in (_identity(facts.get("identity")), *_retired(facts)):
        if identity is None or not processes.alive(identity):
            continue
        processes.end_group(identity, *_how_to_stop(facts))
        say(f"{record.stem}: pid {identity.pid} is not wanted any more; stopped")
    records.remove(record)


def _digest(spec: Spec) -> str:
    """The same for equal specs."""
    return hashlib.sha256(repr(spec).encode()).hexdigest()


def recorded_identity(path: Path) -> Identity | None:
    """The process that a record names, or None."""
    return _identity((records.read_json(path) or {}).get("identity"))


def _how_to_stop(facts: dict[str, Any]) -> tuple[Path, float, signal.Signals]:
    """Directory, grace and signal, as the record says; as is usual where it does not."""
    try:
        cwd, grace_s = Path(facts.get("cwd", "/")), float(facts.get("stop_timeout_s", 10))
        return cwd, grace_s, signal.Signals[facts.get("stop_signal", "SIGTERM")]
    except (KeyError, TypeError, ValueError):
        return Path("/"), 10.0, signal.SIGTERM


def _retired(facts: dict[str, Any]) -> tuple[Identity, ...]:
    values = facts.get("retired")
    return tuple(found for value in (values if isinstance(values, list) else ()) if (found := _identity(value)) is not None)


def _identity(value: Any) -> Identity | None:
    try:
        return Identity(**value)
    except TypeError:
        return None


def say(text: str) -> None:
    """One line in the supervisor's own log, which is its standard error; lost where that cannot be written, as on a full disk."""
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    with contextlib.suppress(OSError):
        os.write(2, f"{stamp} supervisor: {text}\n".encode())
