"""In the worker: holds the boxes of its engines, and says what lies in them once their engine is dead. It never says anything before."""

import asyncio
import contextlib
import os
import resource
import socket
from collections.abc import Callable
from pathlib import Path

import structlog

from fleetform.host.farewells.deposit import BOXES_AT_ONCE, MESSAGE_MAX_BYTES

MOST = 4096
SHARE = 4
"""One in so many of the descriptors that this process may open may belong to streams."""
SAY_S = 30.0
"""How long a slow reader may take to make room for a last event."""
LEAVE_S = 5.0
"""How long the boxes of a line that was lost are kept: by then its process is seen to be dead, or has given them to another line."""
PAUSE_S = 1.0
MESSAGES_AT_ONCE = 64
BACKLOG = 128

Count = Callable[[int], None]
log = structlog.get_logger(__name__)


class Keeper:
    """start, stop. whose: by the path of an engine's socket, asked when it has died; takes how many of its streams got their last event.

    most: how many descriptors are held for all engines together; what comes above is given back, and that stream is cut by a death.
    """

    def __init__(self, path: Path, whose: Callable[[str], Count], most: int | None = None) -> None:
        self._path = path
        self._whose = whose
        self._most = most if most is not None else min(MOST, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // SHARE)
        self._is_full = False
        self._lines: set[_Line] = set()
        self._saying: set[asyncio.Task[None]] = set()
        self._listener: socket.socket | None = None
        self._again: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Listen at path, for processes of our own user. Where that cannot be done, as on a full disk, it is tried again."""
        self._again = None
        try:
            self._listener = _listening(self._path)
        except OSError as error:
            log.warning("farewells_not_heard", error=str(error))
            self._again = asyncio.get_running_loop().call_later(PAUSE_S, self.start)
            return
        self._listen()

    async def stop(self) -> None:
        """Give back all boxes: from now on a death cuts. What is being said is said no further."""
        if self._again is not None:
            self._again.cancel()
        if self._listener is not None:
            asyncio.get_running_loop().remove_reader(self._listener.fileno())
            self._listener.close()
            self._listener = None
            self._path.unlink(missing_ok=True)
        for line in tuple(self._lines):
            self._drop(line)
        for task in self._saying:
            task.cancel()
        await asyncio.gather(*self._saying, return_exceptions=True)

    @property
    def held(self) -> int:
        """Descriptors that are held for engines."""
        return sum(2 + len(line.boxes) for line in self._lines)

    def _listen(self) -> None:
        if self._listener is not None:
            asyncio.get_running_loop().add_reader(self._listener.fileno(), self._accept)

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            found, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError as error:
            # Without a free descriptor it would be ready for ever.
            log.warning("farewells_not_accepted", error=str(error))
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._listener.fileno())
            loop.call_later(PAUSE_S, self._listen)
            return
        found.setblocking(False)
        line = _Line(found)
        self._lines.add(line)
        asyncio.get_running_loop().add_reader(found.fileno(), self._read, line)

    def _read(self, line: "_Line") -> None:
        """What an engine says; some of it, since others wait."""
        for _ in range(MESSAGES_AT_ONCE):
            if not self._take(line):
                return

    def _take(self, line: "_Line") -> bool:
        """Take one message; False when there is none."""
        try:
            flags = socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
            words, descriptors, _, _ = socket.recv_fds(line.socket, MESSAGE_MAX_BYTES, BOXES_AT_ONCE, flags)
        except BlockingIOError:
            return False
        except OSError:
            words, descriptors = b"", []
        if not words:
            self._lost(line)
            return False
        try:
            self._understand(line, words, descriptors)
        except (OSError, ValueError) as error:
            log.warning("farewells_not_understood", error=str(error))
            self._drop(line)
            return False
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return True

    def _understand(self, line: "_Line", words: bytes, descriptors: list[int]) -> None:
        """Take out of descriptors what is kept. OSError or ValueError: it is no such message."""
        if line.process is None:
            (process,), engine = descriptors, words.decode()
            asyncio.get_running_loop().add_reader(process, self._died, line)
            line.process, line.engine = descriptors.pop(), engine
        elif words[:1] == b"+":
            numbers = [int(word) for word in words[1:].split(b"+")]
            # Without free descriptors fewer came.
            for number in numbers[: max(0, min(len(descriptors), self._most - self.held))]:
                line.boxes[number] = socket.socket(fileno=descriptors[0])
                del descriptors[0]
            if descriptors and not self._is_full:
                log.warning("farewells_full", most=self._most)
            self._is_full = bool(descriptors) or (self._is_full and self.held > self._most // 2)
        else:
            over = line.boxes.pop(int(words[1:]), None)
            if over is not None:
                over.close()

    def _lost(self, line: "_Line") -> None:
        """Nothing more comes. A process that dies closes its line a moment before it is seen to be dead."""
        if line.process is None:
            self._drop(line)
            return
        loop = asyncio.get_running_loop()
        loop.remove_reader(line.socket.fileno())
        loop.call_later(LEAVE_S, self._drop, line)

    def _died(self, line: "_Line") -> None:
        """Its process is gone, with all of its threads: what it has left in its boxes is said."""
        while self._take(line):
            pass
        count = self._whose(line.engine)
        left = [found for box in line.boxes.values() if (found := _taken(box)) is not None]
        self._drop(line)
        if left:
            task = asyncio.create_task(_say_all(left, line.engine, count))
            self._saying.add(task)
            task.add_done_callback(self._saying.discard)

    def _drop(self, line: "_Line") -> None:
        if line not in self._lines:
            return
        self._lines.discard(line)
        loop = asyncio.get_running_loop()
        loop.remove_reader(line.socket.fileno())
        line.socket.close()
        if line.process is not None:
            loop.remove_reader(line.process)
            os.close(line.process)
        for box in line.boxes.values():
            box.close()


class _Line:
    """Of one process. process: its pidfd. boxes: by number, the streams that it has under way, and perhaps some that are over."""

    def __init__(self, found: socket.socket) -> None:
        self.socket = found
        self.process: int | None = None
        self.engine = ""
        self.boxes: dict[int, socket.socket] = {}


def _listening(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        path.unlink(missing_ok=True)
        listener.setblocking(False)
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _taken(box: socket.socket) -> tuple[socket.socket, bytes] | None:
    """The connection that lies in box, and what to say on it; None when it is empty, since that stream is over."""
    try:
        tail, descriptors, _, _ = socket.recv_fds(box, MESSAGE_MAX_BYTES, 1, socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC)
    except OSError:
        return None
    for descriptor in descriptors:
        try:
            return socket.socket(fileno=descriptor), tail
        except OSError:  # it is no socket
            os.close(descriptor)
    return None


async def _say_all(left: list[tuple[socket.socket, bytes]], engine: str, count: Count) -> None:
    said = await asyncio.gather(*(_say(connection, tail, count) for connection, tail in left))
    log.warning("streams_ended_for_a_dead_engine", engine=Path(engine).name, streams=len(left), told=sum(said))


async def _say(connection: socket.socket, tail: bytes, count: Count) -> bool:
    """Say it, as soon as the reader lets us, and count it; False when it does not, and sees the connection break."""
    with connection, contextlib.suppress(OSError, TimeoutError):
        connection.setblocking(False)
        async with asyncio.timeout(SAY_S):
            await asyncio.get_running_loop().sock_sendall(connection, tail)
        count(1)
        return True
    return False
