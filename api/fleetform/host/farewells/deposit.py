"""Inside the engine: what is to be said on a stream if this process dies. Standard library only; whatever fails leaves it unsaid.

Nothing here waits. A chunk costs two comparisons; the calls of the kernel come with the beginning and the end of a stream.
"""

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from pathlib import Path
from typing import Any

from fleetform.host.statistics import tells_error

SOCKET = "farewells.sock"
"""Beside the engine's own socket, as in host/layout.py."""
WHOLE_BYTES = 16 << 10
"""What a Unix socket takes whole or not at all (tests/host/test_farewells.py): the kernel cuts above some 36 KiB, or half its buffer."""
FRAME_BYTES = 16
SETTLE_S = 0.05
HEAD_TURNS = 3
"""Turns of the loop in which a head leaves this process; one that has not left by then is waited for beside the stream."""
RETRY_S = 1.0
MESSAGE_MAX_BYTES = 4096
BOXES_AT_ONCE = 250
"""In one message; the kernel takes 253. A line holds some 280 messages, and there may be more streams than that."""
MESSAGE = "The replica that was answering has ended. The answer is incomplete: send the request again."
TYPE, CODE = "server_error", "no_ready_replica"
LAST_NUMBER = (1 << 31) - 1
"""The sequence_number of a last event: larger than any before it, whose number only the engine knew."""
_LAST_EVENTS = tuple(b"event: response." + end for end in (b"completed", b"incomplete", b"failed"))

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class Line:
    """The line of this process to the worker of its host. It is opened with the first stream, and anew when it is lost."""

    def __init__(self) -> None:
        self._line: socket.socket | None = None
        self._boxes: dict[int, socket.socket] = {}
        self._count = 0
        self._engine = ""
        self._again: asyncio.TimerHandle | None = None

    def deposit(self, connection: int, engine: str, tail: bytes) -> int | None:
        """Have tail said on connection if we die; the number by which it is withdrawn. engine: the path of our socket."""
        try:
            box = _filled(connection, tail)
        except OSError:
            return None
        self._engine, self._count = engine, self._count + 1
        self._boxes[self._count] = box
        if self._line is None:
            self._open()
        else:
            self._tell(b"+%d" % self._count, box)
        return self._count

    def withdraw(self, number: int) -> None:
        """It is not said. When this returns nobody but us holds the connection."""
        box = self._boxes.pop(number, None)
        if box is None:
            return
        with box, contextlib.suppress(OSError):
            for descriptor in socket.recv_fds(box, MESSAGE_MAX_BYTES, 1, socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC)[1]:
                os.close(descriptor)
        self._tell(b"-%d" % number)

    def close(self) -> None:
        """Let go of the worker and of all that is deposited, as before this process is put on disk. The next stream opens it anew."""
        for number in tuple(self._boxes):
            self.withdraw(number)
        self._hang_up()
        if self._again is not None:
            self._again.cancel()
            self._again = None

    def _open(self) -> None:
        line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        line.setblocking(False)
        try:
            line.connect(str(Path(self._engine).with_name(SOCKET)))
            ourselves = os.pidfd_open(os.getpid())
            try:
                socket.send_fds(line, [self._engine.encode()], [ourselves])
            finally:
                os.close(ourselves)
            boxes = list(self._boxes.items())
            for first in range(0, len(boxes), BOXES_AT_ONCE):
                some = boxes[first : first + BOXES_AT_ONCE]
                socket.send_fds(line, [b"".join(b"+%d" % number for number, _ in some)], [box.fileno() for _, box in some])
        except OSError:
            line.close()
            self._try_again()
            return
        self._line = line
        asyncio.get_running_loop().add_reader(line.fileno(), self._lost)

    def _tell(self, words: bytes, *boxes: socket.socket) -> None:
        """A worker that does not listen is told nothing more: it could not know what is left of what it has."""
        if self._line is None:
            return
        try:
            socket.send_fds(self._line, [words], [box.fileno() for box in boxes])
        except OSError:
            self._lost()

    def _lost(self) -> None:
        self._hang_up()
        self._try_again()

    def _hang_up(self) -> None:
        if self._line is not None:
            asyncio.get_running_loop().remove_reader(self._line.fileno())
            self._line.close()
            self._line = None

    def _try_again(self) -> None:
        if self._boxes and self._again is None:
            self._again = asyncio.get_running_loop().call_later(RETRY_S, self._retry)

    def _retry(self) -> None:
        self._again = None
        if self._boxes and self._line is None:
            self._open()


class Farewell:
    """Of one answer. It is deposited while the connection holds whole chunks and whole events, and the stream says neither its end nor
    an error; at any other time it is not.
    """

    def __init__(self, line: Line, scope: MutableMapping[str, Any], receive: Receive) -> None:
        self._line = line
        self._scope = scope
        # uvicorn's, where nothing has been put between it and us.
        self._transport: Any = getattr(getattr(receive, "__self__", None), "transport", None)
        self._engine = ""
        self._tail = b""
        self._number: int | None = None
        self._is_due = False
        self._settling: asyncio.TimerHandle | asyncio.Handle | None = None

    async def begin(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """A stream of events begins with these headers, which have been handed to the transport. Deposit before its first event is sent:
        whoever has seen one is told its end.
        """
        names = {name.lower() for name, _ in headers}
        is_chunked = self._scope.get("http_version") == "1.1" and not names & {b"content-length", b"content-encoding"}
        if is_chunked and self._scope.get("method") != "HEAD":
            self._engine = _path_of(self._transport)
            self._tail = _tail(str(self._scope.get("path", "")))
        self._is_due = bool(self._engine)
        for _ in range(HEAD_TURNS):
            self.after()
            if self._number is not None or not self._is_due:
                break
            await asyncio.sleep(0)

    def before(self, part: bytes, *, is_last: bool) -> None:
        """This part is about to be sent."""
        if not self._engine:
            return
        if is_last or _says_its_end(part):
            self.end()
            return
        # More than the kernel takes at once may be cut by a death, and half an event would swallow the last one.
        if part:
            self._is_due = part.endswith(b"\n\n")
            if not self._is_due or len(part) + FRAME_BYTES + self._transport.get_write_buffer_size() > WHOLE_BYTES:
                self._withdraw()

    def after(self) -> None:
        """The part has been handed to the transport: deposit, unless that is done, as soon as all before has left this process."""
        if self._engine and self._is_due and self._number is None and self._settling is None:
            self._settle()

    def end(self) -> None:
        """Nothing more is to be said. Before the last bytes are sent, and in every case before the request is over."""
        self._engine, self._is_due = "", False
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None
        self._withdraw()

    def _settle(self) -> None:
        is_first, self._settling = self._settling is None, None
        if not self._is_due or self._transport.is_closing():
            return
        if self._transport.get_write_buffer_size() == 0:
            self._number = self._line.deposit(self._transport.get_extra_info("socket").fileno(), self._engine, self._tail)
            return
        # uvloop writes when the callbacks of this round are done.
        loop = asyncio.get_running_loop()
        self._settling = loop.call_soon(self._settle) if is_first else loop.call_later(SETTLE_S, self._settle)

    def _withdraw(self) -> None:
        if self._number is not None:
            self._line.withdraw(self._number)
            self._number = None


def _filled(connection: int, tail: bytes) -> socket.socket:
    """Our end of a box in which a duplicate of connection lies, and tail. OSError."""
    box, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with other:
            socket.send_fds(other, [tail], [connection])
    except OSError:
        box.close()
        raise
    return box


def _path_of(transport: Any) -> str:
    """The path of the socket at which this connection was accepted; empty when it is not one on which a last event can be left."""
    try:
        found = transport.get_extra_info("socket")
        if found.family != socket.AF_UNIX or found.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) < 4 * WHOLE_BYTES:
            return ""
        transport.get_write_buffer_size()
        path = found.getsockname()
    except (AttributeError, OSError, NotImplementedError):
        return ""
    return path if isinstance(path, str) and path.startswith("/") else ""


def _tail(path: str) -> bytes:
    """The error as the API at path tells it, as one chunk, and the end of the body."""
    error: dict[str, Any] = {"message": MESSAGE, "type": TYPE, "param": None, "code": CODE}
    event = b"data: " + json.dumps({"error": error}).encode() + b"\n\n"
    if path.startswith("/v1/responses"):
        told = {**error, "type": "error", "sequence_number": LAST_NUMBER}
        event = b"event: error\ndata: " + json.dumps(told).encode() + b"\n\n"
    return b"%x\r\n%s\r\n0\r\n\r\n" % (len(event), event)


def _says_its_end(part: bytes) -> bool:
    return part.endswith(b"data: [DONE]\n\n") or part.startswith(_LAST_EVENTS) or tells_error(part)
