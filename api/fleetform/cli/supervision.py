"""The supervisor as seen from outside: is it there, start it, tell it to look again, end it and whatever it would have ended."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from fleetform.cli import preflight, programs
from fleetform.errors import SetupError
from fleetform.host import children, processes, records
from fleetform.settings import Settings

POLL_S = 0.05
SUPERVISOR_START_S = 20.0
UNKNOWN_STOP_S = 10.0
"""Grace for a program that still runs although no file tells of it any more."""


def supervisor(settings: Settings) -> processes.Identity | None:
    """The living supervisor of this home, or None."""
    identity = children.recorded_identity(settings.home / "host" / "supervisor.json")
    return identity if identity is not None and processes.alive(identity) else None


@contextlib.contextmanager
def alone(settings: Settings) -> Iterator[None]:
    """While the block runs no other `up` or `down` changes this home; SetupError when one is at work already."""
    with records.locked(records.private_directory(settings.home / "host") / "up.lock") as held:
        if not held:
            raise SetupError(f"a `fleetform up` or `fleetform down` is at work for {settings.home}; try again when it is done")
        yield


def rescan_or_start(settings: Settings) -> None:
    """Make the supervisor read its children's files: the living one by SIGHUP, else a new one, which adopts what still runs."""
    living = supervisor(settings)
    if living is not None and processes.send(living, signal.SIGHUP):
        return
    log = records.private_directory(settings.home / "logs") / "supervisor.log"
    with log.open("ab") as output:
        started = subprocess.Popen(
            programs.supervisor_argv(settings),
            env=programs.supervisor_environment(settings),
            cwd=settings.home,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    # Another one may have come up meanwhile (the worker restarts a dead supervisor): then ours ends by itself, which is as good.
    wait_until(lambda: supervisor(settings) is not None, SUPERVISOR_START_S, lambda: f"the supervisor did not start: see {log}")
    if started.poll() is not None:
        rescan_or_start(settings)


def wait_until(holds: Callable[[], bool], timeout_s: float, otherwise: Callable[[], str]) -> None:
    """Until holds() is true; SetupError with otherwise() when that takes longer than timeout_s."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            raise SetupError(otherwise())
        time.sleep(POLL_S)


def stop_child(settings: Settings, name: str) -> None:
    """Have the supervisor stop one child for good, until `up` writes its file again. Blocks until it is gone."""
    spec_path = settings.home / "host" / "children" / f"{name}.json"
    spec = children.read_spec(spec_path) if spec_path.exists() else None
    if spec is None:
        return
    records.remove(spec_path)
    rescan_or_start(settings)
    gone = spec.stop_timeout_s + SUPERVISOR_START_S
    wait_until(lambda: name not in preflight.running(settings.home), gone, lambda: f"{name} does not end: see {spec.log}")


def stop(settings: Settings) -> None:
    """End the supervisor, which ends its children in order; without one, end them by their records. Blocks until all are gone."""
    living = supervisor(settings)
    if living is not None:
        processes.send(living, signal.SIGTERM)
        longest = sum(spec.stop_timeout_s for spec in _specs(settings)) + SUPERVISOR_START_S
        wait_until(lambda: not processes.alive(living), longest, lambda: f"the supervisor (pid {living.pid}) does not end")
    specs = {spec.name: spec for spec in _specs(settings)}
    left = preflight.running(settings.home)
    for name in sorted(left, key=lambda name: -specs[name].order if name in specs else 0):
        spec = specs.get(name)
        cwd, timeout_s = (spec.cwd, spec.stop_timeout_s) if spec is not None else (settings.home, UNKNOWN_STOP_S)
        processes.end_group(left[name], cwd, timeout_s, spec.stop_signal if spec is not None else signal.SIGTERM)
        records.remove(settings.home / "host" / "running" / f"{name}.json")


def _specs(settings: Settings) -> list[children.Spec]:
    folder = settings.home / "host" / "children"
    found = (children.read_spec(path) for path in sorted(folder.glob("*.json")))
    return [spec for spec in found if spec is not None]


def prepare_directories(settings: Settings) -> None:
    """Home, its logs and the directory of sockets: ours alone. The link home/run tells every later shell where the sockets are."""
    os.umask(0o077)
    records.private_directory(settings.home).chmod(0o700)
    records.private_directory(settings.home / "logs")
    records.private_directory(settings.home / "host")
    preflight.check_run_dir(settings.run)
    records.private_directory(settings.run)
    link = settings.home / "run"
    if not link.is_symlink() or link.readlink() != settings.run:
        link.unlink(missing_ok=True)
        link.symlink_to(settings.run, target_is_directory=True)


def log_tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log, indented; empty when there is none."""
    try:
        text = log.read_text(errors="replace")
    except OSError:
        return ""
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])
