"""Row 27: a pid that the kernel has given to somebody else is never signalled. Real reuse, in a PID namespace of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
IN_A_NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc")
SCRIPT = """
import os, signal, subprocess, time
from pathlib import Path
from fleetform.host import processes

first = subprocess.Popen(["sleep", "60"])
recorded = processes.identify(first.pid)
time.sleep(0.05)  # the kernel counts start times in hundredths of a second; no pid comes around that fast
first.kill(); first.wait()
for _ in range(50):
    Path("/proc/sys/kernel/ns_last_pid").write_text(str(first.pid - 1))
    second = subprocess.Popen(["sleep", "60"])
    if second.pid == first.pid:
        break
    second.kill(); second.wait()
assert second.pid == recorded.pid, "the kernel did not give the pid again"
assert processes.identify(second.pid) != recorded
assert not processes.alive(recorded)
assert not processes.send(recorded, signal.SIGKILL)
assert processes.group(recorded, Path("/")).ours == ()
processes.end_group(recorded, Path("/"), 0.2)
time.sleep(0.2)
assert second.poll() is None, "a foreign process was ended"
second.kill(); second.wait()
print("not signalled")
"""


def test_row_27_a_reused_pid_is_never_signalled() -> None:
    allowed = subprocess.run([*IN_A_NAMESPACE, "true"], capture_output=True, text=True, check=False)
    if allowed.returncode != 0:
        pytest.skip(f"`{' '.join(IN_A_NAMESPACE)} true` says: {allowed.stderr.strip()}")
    words = [*IN_A_NAMESPACE, sys.executable, "-c", SCRIPT]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT, timeout=50)
    assert done.returncode == 0, done.stderr
    assert "not signalled" in done.stdout
