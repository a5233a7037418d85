"""`fleetform up` in a home of its own: embedded PostgreSQL, server, host process, Envoy, real engines."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from fleetform.settings import run_dir
from tests.harness.ports import free_ports
from tests.harness.waiting import until

FLEETFORM = str(Path(sys.executable).with_name("fleetform"))
GUARD = 'cat > /dev/null; FLEETFORM_HOME="$2" "$1" down > /dev/null 2>&1; rm -rf "$2" "$3"'
"""Ends a stack when whoever made it is gone, however that came: the pipe to its standard input closes with them."""


class Stack:
    """One whole Fleetform. environment: what `.fleetform/env` says, for clients."""

    def __init__(self, extra: dict[str, str] | None = None) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="fleetform-test-"))
        api, gateway = free_ports(2)
        self.variables = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("FLEETFORM_", "OPENAI_"))},
            "FLEETFORM_HOME": str(self.home),
            "FLEETFORM_API_PORT": str(api),
            "FLEETFORM_GATEWAY_PORT": str(gateway),
            "FLEETFORM_ZYGOTE": "off",  # it imports vLLM, which few tests start
            **(extra or {}),
        }
        self.environment: dict[str, str] = {}
        self._guard = subprocess.Popen(
            ["sh", "-c", GUARD, "guard", FLEETFORM, str(self.home), str(self.run)],
            env={"PATH": os.environ["PATH"]},
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def __enter__(self) -> "Stack":
        try:
            self.up()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        subprocess.run([FLEETFORM, "down"], env=self.variables, timeout=180, check=False, capture_output=True)
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        self._guard.communicate()
        shutil.rmtree(self.run, ignore_errors=True)

    @property
    def run(self) -> Path:
        """Where the sockets are."""
        return run_dir(self.home, self.variables)

    def up(self) -> str:
        """Run `fleetform up --detach` (again), and read the environment it writes."""
        done = subprocess.run(
            [FLEETFORM, "up", "--detach"],
            env=self.variables,
            capture_output=True,
            text=True,
            timeout=180,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert done.returncode == 0, f"fleetform up ended with {done.returncode}:\n{done.stdout}{done.stderr}\n{self.logs()}"
        lines = (self.home / "env").read_text().splitlines()
        pairs = [line.removeprefix("export ").split("=", 1) for line in lines if "=" in line and not line.startswith("#")]
        self.environment = {key: value.strip("'\"") for key, value in pairs}
        return done.stdout

    def fleetform(self, *words: str, fails: bool = False, timeout_s: float = 300) -> str:
        """Run a client verb; all that it prints."""
        done = self._run(*words, timeout_s=timeout_s)
        assert (done.returncode != 0) == fails, f"fleetform {' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def answer(self, *words: str) -> Any:
        """What a client verb prints on standard output as JSON."""
        done = self._run(*words, "--output", "json", timeout_s=60)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def processes(self, *words: str) -> dict[int, str]:
        """Living processes whose command line or environment belongs to this home, and whose command line holds all of words."""
        found = {}
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit() or int(folder.name) in (os.getpid(), self._guard.pid):
                continue
            try:
                line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
                environ = (folder / "environ").read_bytes()
            except (OSError, IndexError):
                continue
            mine = str(self.home) in line or str(self.run) in line or f"FLEETFORM_HOME={self.home}".encode() in environ
            if mine and state != "Z" and all(word in line for word in words):
                found[int(folder.name)] = line
        return found

    def kill(self, *words: str) -> list[int]:
        """SIGKILL every process of this stack whose command line holds words; their pids. AssertionError when there is none."""
        pids = list(self.processes(*words))
        assert pids, f"no process with {words} to kill; there are:\n" + "\n".join(self.processes().values())
        # Stopped first: killed one by one, the first could be started again by one that is still to be killed.
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in pids:
                os.kill(pid, number)
        until(f"{words} gone", lambda: not set(pids) & set(self.processes(*words)))
        return pids

    def _run(self, *words: str, timeout_s: float) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [FLEETFORM, *words],
            env={**self.variables, **self.environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def logs(self, lines: int = 15) -> str:
        """The last lines of every program's log, for the message of a failed test."""
        parts = []
        for path in sorted((self.home / "logs").glob("**/*.log")):
            last = path.read_text(errors="replace").splitlines()[-lines:]
            parts.append(f"--- {path.name}\n" + "\n".join(last))
        return "\n".join(parts)
