"""How the make targets talk: one line per step with its time, and on failure the end of the log and a remedy."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TAIL_LINES = 30


class StepFailed(Exception):
    """A command of a step failed; `log` holds its output."""

    def __init__(self, message: str, log: Path) -> None:
        super().__init__(message)
        self.log = log


@contextmanager
def step(name: str) -> Iterator[None]:
    """Print name, then how long the block took, or that it failed; on a terminal the seconds run meanwhile."""
    begun = time.monotonic()
    over = threading.Event()
    counting = threading.Thread(target=_count, args=(name, begun, over), daemon=True)
    print(f"  {name:<58}", end="", flush=True)
    if sys.stdout.isatty():
        counting.start()
    outcome = "failed after"
    try:
        yield
        outcome = ""
    finally:
        over.set()
        if counting.is_alive():
            counting.join()
        ended = f"{outcome}{time.monotonic() - begun:6.1f} s  "
        print(f"\r  {name:<58}{ended}" if sys.stdout.isatty() else ended, flush=True)


def _count(name: str, begun: float, over: threading.Event) -> None:
    while not over.wait(1.0):
        print(f"\r  {name:<58}{time.monotonic() - begun:6.0f} s …", end="", flush=True)


def run(command: list[str], log: Path, environ: Mapping[str, str] | None = None, cwd: Path = ROOT) -> None:
    """Run command with its output appended to log; StepFailed when it does not end with 0."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        output.write(f"\n$ {' '.join(command)}\n".encode())
        output.flush()
        done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=environ, cwd=cwd)
    if done.returncode != 0:
        raise StepFailed(f"`{' '.join(command)}` ended with status {done.returncode}", log)


def fail(message: str, log: Path | None = None) -> int:
    """Print the end of log and then message, which names the remedy; returns exit status 1."""
    if log is not None and log.exists():
        lines = log.read_text(errors="replace").splitlines()[-TAIL_LINES:]
        print("\n".join(f"    {line}" for line in lines), file=sys.stderr)
        message = f"{message} (all of it: {log})"
    print(f"\n{message}", file=sys.stderr)
    return 1


def home() -> Path:
    """FLEETFORM_HOME, by default `.fleetform` in the checkout."""
    return Path(os.environ.get("FLEETFORM_HOME") or ROOT / ".fleetform").resolve()
