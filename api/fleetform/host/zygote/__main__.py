"""The zygote: `python -m fleetform.host.zygote SOCKET EXITS ENGINE`.

ENGINE is a module of three things: PACKAGES, whose change on disk makes the zygote give up; prepare(), which imports what engines need
and returns why none may be forked, or nothing; become(), which runs the engine in the forked process. EXITS is where the supervisor
looks for how processes ended: engines are children of the zygote while it lives.

It listens once all is imported, so that a socket that answers means a zygote that is ready. SIGTERM ends it at once; engines stay.
"""

import contextlib
import gc
import importlib
import os
import select
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from fleetform.host import notes, processes
from fleetform.host.zygote import child, message
from fleetform.host.zygote.stamp import Imported

RECEIVE_S = 1.0
REAP_EVERY_S = 60.0


class Engine(Protocol):
    """The module that knows what is forked."""

    PACKAGES: tuple[str, ...]

    def prepare(self) -> str: ...

    def become(self) -> None: ...


class Zygote:
    """One process without threads. refusal: why it forks nothing; it still listens, so that whoever asks is told."""

    def __init__(self, listener: socket.socket, exits: Path, imported: Imported, refusal: str) -> None:
        self.listener = listener
        self.exits = exits
        self.imported = imported
        self.refusal = refusal
        self.outdated = False

    def serve(self) -> bool:
        """Until the software on disk has changed: False. True in a forked process, which is to become the engine."""
        wake, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        poller = select.poll()
        poller.register(self.listener, select.POLLIN)
        poller.register(wake, select.POLLIN)
        while not self.outdated:
            ready = {descriptor for descriptor, _ in poller.poll(REAP_EVERY_S * 1000)}
            if wake in ready:
                os.read(wake, 512)
            self._reap()
            if self.listener.fileno() not in ready:
                continue
            connection = self._accept()
            if connection is None:
                continue
            if self._fork(connection):
                os.close(wake)
                os.close(wake_write)
                self.listener.close()
                return True
        return False

    def _accept(self) -> socket.socket | None:
        """A connection of our own user."""
        try:
            connection, _ = self.listener.accept()
        except OSError:
            return None
        if message.peer_uid(connection) != os.geteuid():
            connection.close()
            return None
        connection.settimeout(RECEIVE_S)
        return connection

    def _fork(self, connection: socket.socket) -> bool:
        """True in the new process, once it may go on. Whatever is wrong, the zygote itself goes on and the asker is told."""
        with connection:
            try:
                ask = message.receive_ask(connection)
            except (OSError, ValueError) as error:
                message.answer(connection, refused=str(error))
                return False
            try:
                refusal = self._refusal()
                pid = -1 if refusal else os.fork()
                if pid == 0:
                    child.become(ask, connection)
                    return True
                if refusal:
                    message.answer(connection, refused=refusal)
            except OSError as error:
                message.answer(connection, refused=f"the fork failed: {error.strerror}")
            os.close(ask.log)
            os.close(ask.gate)
            return False

    def _refusal(self) -> str:
        """Why nothing is forked now, or nothing."""
        self.outdated = self.imported.is_outdated()
        return "the software on disk has changed; a new zygote imports it" if self.outdated else self.refusal or _unfit()

    def _reap(self) -> None:
        while (ended := notes.next_exit()) is not None:
            identity, status = ended
            try:
                notes.write(self.exits, identity, status)
            except OSError as error:
                _say(f"cannot record the exit of pid {identity.pid}: {error}")


def main(argv: Sequence[str]) -> int:
    """The zygote until its software changes (exit status 0); in a forked process, the engine until that ends."""
    path, exits = Path(argv[0]), Path(argv[1])
    engine: Engine = importlib.import_module(argv[2])
    imported = Imported(engine.PACKAGES)
    refusal = _prepare(engine)
    with _listen(path) as listener:
        _say(f"forks no engine: {refusal}" if refusal else "ready")
        is_child = Zygote(listener, exits, imported, refusal).serve()
    if is_child:
        engine.become()
    return 0


def _prepare(engine: Engine) -> str:
    try:
        refusal = engine.prepare()
    except Exception as error:  # whatever the software's import raises: starts are plain then
        refusal = f"importing the engine failed: {type(error).__name__}: {error}"
    # What is there now is there for good: kept out of collections, its pages stay shared with the engines.
    gc.collect()
    gc.freeze()
    return refusal or _unfit()


def _unfit() -> str:
    """Why this process must not be forked now: a thread's locks would be held for ever in the child."""
    threads = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # it has just ended
            threads.append((task / "comm").read_text().strip())
    return f"the zygote runs {len(threads)} threads ({', '.join(sorted(threads))})" if len(threads) != 1 else ""


def _listen(path: Path) -> socket.socket:
    """A socket of our user alone. It replaces that of a dead zygote in one step: between the two none is missing."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(str(new))
    new.chmod(0o600)
    listener.listen(16)
    new.rename(path)
    return listener


def _say(text: str) -> None:
    identity = processes.identify(os.getpid())
    with contextlib.suppress(OSError):  # a full disk ends no zygote
        os.write(2, f"zygote {identity.pid if identity else ''}: {text}\n".encode())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
