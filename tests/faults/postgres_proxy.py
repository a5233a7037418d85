"""A proxy in front of PostgreSQL's socket that loses the reply to a COMMIT, so that nobody is told, or lets nothing through for a while."""

import contextlib
import socket
import threading
from pathlib import Path
from types import TracebackType

from fleetform.host import postgres
from tests.harness.server import Server

COMMIT = b"COMMIT\x00"


class Between(Server):
    """A server that reaches its PostgreSQL through a proxy."""

    def __init__(self) -> None:
        super().__init__(extra={"FLEETFORM_LOG_LEVEL": "warning"})
        self.folder = Path(f"{self.settings.run}-p")
        self.folder.mkdir(mode=0o700)
        self.proxy = PostgresProxy(self.folder, postgres.socket_path(self.settings))
        real = postgres.url(self.settings)
        self.variables["FLEETFORM_DATABASE_URL"] = real.replace(str(self.settings.postgres_socket_dir), str(self.folder))
        assert self.variables["FLEETFORM_DATABASE_URL"] != real

    def __enter__(self) -> "Between":
        self.proxy.__enter__()
        super().__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.proxy.flows.set()
        super().__exit__(kind, error, trace)
        self.proxy.__exit__(kind, error, trace)
        (self.folder / ".s.PGSQL.5432").unlink(missing_ok=True)
        self.folder.rmdir()


class PostgresProxy:
    """Listens as `.s.PGSQL.5432` in folder and forwards to target.

    lose_commits: how many replies to a COMMIT are still to be lost. flows: cleared, nothing comes through in either direction, and no
    connection ends, as behind a firewall that drops; set again, what was held goes on, as TCP would have sent it again.
    """

    def __init__(self, folder: Path, target: Path) -> None:
        self.lose_commits = 0
        self.lost = 0
        self.flows = threading.Event()
        self.flows.set()
        self._target = target
        self._path = folder / ".s.PGSQL.5432"
        self._listener = socket.socket(socket.AF_UNIX)
        self._open: set[socket.socket] = set()

    def __enter__(self) -> "PostgresProxy":
        self._listener.bind(str(self._path))
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.flows.set()
        for each in (self._listener, *self._open):
            _close(each)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                try:
                    server.connect(str(self._target))
                except OSError:
                    _close(client)
                    continue
                self._open |= {client, server}
                cut = threading.Event()
                threading.Thread(target=self._forward, args=(client, server, cut), daemon=True).start()
                threading.Thread(target=self._answer, args=(server, client, cut), daemon=True).start()

    def _forward(self, client: socket.socket, server: socket.socket, cut: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                if COMMIT in data and self.lose_commits:
                    self.lose_commits -= 1
                    cut.set()
                self.flows.wait()
                server.sendall(data)
        _close(server)

    def _answer(self, server: socket.socket, client: socket.socket, cut: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                if cut.is_set():
                    self.lost += 1
                    break
                self.flows.wait()
                client.sendall(data)
        _close(client)
        _close(server)


def _close(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()
