"""Asking for a signal at the parent's death has no effect, and everything else of the system call has."""

import signal
import subprocess
import sys
from pathlib import Path

from fleetform.host import processes, undying
from tests.harness.waiting import until

ASKS = """
import ctypes, pathlib, signal, sys
libc = ctypes.CDLL(None)
assert libc.prctl(1, signal.SIGTERM, 0, 0, 0) == 0, "the question succeeds"
assert libc.prctl(15, b"named", 0, 0, 0) == 0
pathlib.Path(sys.argv[1]).write_text(open("/proc/self/comm").read())
signal.pause()
"""
PARENT = """
import os, subprocess, sys, time
child = subprocess.Popen(sys.argv[2:])
open(sys.argv[1], "w").write(str(child.pid))
time.sleep(600)
"""


def test_what_asked_to_end_with_its_parent_lives_on(tmp_path: Path) -> None:
    asked, pid = tmp_path / "asked", tmp_path / "pid"
    words = [sys.executable, "-S", undying.__file__, sys.executable, "-S", "-c", ASKS, str(asked)]
    parent = subprocess.Popen([sys.executable, "-S", "-c", PARENT, str(pid), *words])
    try:
        until("the child has asked", lambda: asked.exists() and asked.read_text() == "named\n")
        child = processes.identify(int(pid.read_text()))
        assert child is not None
        parent.kill()
        parent.wait()
        until("it has another parent", lambda: (found := processes.read_stat(child.pid)) is not None and found.parent != parent.pid)
        assert processes.alive(child)
        processes.send(child, signal.SIGTERM)
        until("it is gone", lambda: not processes.alive(child))
    finally:
        parent.kill()
        parent.wait()


def test_without_hot_restart_its_options_are_left_out() -> None:
    argv = ["/envoy", "--config-path", "/c", "--restart-epoch", "3", "--base-id", "7", "--drain-time-s", "60", "--concurrency", "1"]
    assert undying.without_hot_restart(argv) == ["/envoy", "--config-path", "/c", "--concurrency", "1", "--disable-hot-restart"]
