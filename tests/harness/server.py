"""`python -m tests.harness.server`: a control API on the fake driver with a PostgreSQL of its own, for clients in other languages.

Prints one JSON line {base_url, token, gateway_url, home} on standard output when it is ready, and stops everything when its standard
input closes, or when whoever started it is gone.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType

import httpx2

from fleetform import settings as fleetform_settings
from fleetform.host import postgres
from tests.harness.ports import free_ports
from tests.harness.waiting import until

FLEETFORM = str(Path(sys.executable).with_name("fleetform"))


class Server:
    """One `fleetform server` on the fake driver. token: a region administrator's key."""

    def __init__(self, extra: dict[str, str] | None = None) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="fleetform-server-"))
        api, gateway = free_ports(2)
        self.variables = {
            **{key: value for key, value in os.environ.items() if not key.startswith("FLEETFORM_")},
            "FLEETFORM_HOME": str(self.home),
            "FLEETFORM_API_PORT": str(api),
            "FLEETFORM_GATEWAY_PORT": str(gateway),
            "FLEETFORM_DRIVER": "fake",
            **(extra or {}),
        }
        self.settings = fleetform_settings.load(self.variables)
        self.base_url = f"http://127.0.0.1:{api}"
        self.gateway_url = self.settings.gateway_url
        self.token = ""
        self._children: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> "Server":
        try:
            self._start_postgres()
            self.start()
            self.token = subprocess.run(
                [FLEETFORM, "admin-token"], env=self.variables, capture_output=True, text=True, check=True, timeout=60
            ).stdout.strip()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for child in reversed(self._children):
            child.terminate()
            try:
                child.wait(timeout=20)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait(timeout=20)
        shutil.rmtree(self.home, ignore_errors=True)
        shutil.rmtree(self.settings.run, ignore_errors=True)

    def start(self) -> None:
        """Start (again) the server process and wait until it is ready."""
        self.process = self._spawn([FLEETFORM, "server", "--role", "api,reconciler"], "server")
        until("the server is ready", self._ready, timeout_s=60)

    def kill(self) -> None:
        """SIGKILL the server process; PostgreSQL stays."""
        self.process.kill()
        self.process.wait(timeout=20)
        self._children.remove(self.process)

    def log(self) -> str:
        """The end of the server's log."""
        return "\n".join((self.home / "server.log").read_text(errors="replace").splitlines()[-40:])

    def _start_postgres(self) -> None:
        self.settings.run.mkdir(mode=0o700, parents=True, exist_ok=True)
        postgres.prepare(self.settings)
        self._spawn(list(postgres.argv(self.settings)), "postgres")
        until("PostgreSQL listens", postgres.socket_path(self.settings).exists)

    def _spawn(self, argv: list[str], name: str) -> subprocess.Popen[bytes]:
        with (self.home / f"{name}.log").open("ab") as log:
            child = subprocess.Popen(argv, env=self.variables, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._children.append(child)
        return child

    def _ready(self) -> bool:
        assert self.process.poll() is None, f"the server ended with {self.process.returncode}:\n{self.log()}"
        try:
            return httpx2.get(f"{self.base_url}/readyz", timeout=2).status_code == 200
        except httpx2.HTTPError:
            return False


def main() -> None:
    """Serve until standard input closes."""
    with Server() as server:
        facts = {"base_url": server.base_url, "token": server.token, "gateway_url": server.gateway_url, "home": str(server.home)}
        print(json.dumps(facts), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
