"""Engines to route to: one inside the test that shows what it was sent, and the stub engine as a process that can be killed."""

import asyncio
import contextlib
import json
import re
import socket
import sys
from pathlib import Path
from typing import Any

from tests.gateway.processes import child
from tests.harness.waiting import until

STUB = [sys.executable, str(Path(__file__).parents[1] / "engines" / "stub.py")]


class EchoEngine:
    """Answers every request with its own name, and keeps what arrived. seen: (request line, headers, body), oldest first.

    A body may ask for an answer: `answer_bytes` of padding, `answer_status`, `events` as a stream with `event_delay_s` between them.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        self.seen: list[tuple[str, list[tuple[str, str]], bytes]] = []
        self._server: asyncio.Server | None = None

    async def start(self, listening: socket.socket | None = None) -> None:
        """Serve at path, with as long a queue of connections as vLLM has; or at a socket that listens there already."""
        if listening is None:
            self._server = await asyncio.start_unix_server(self._serve, self.path, limit=1 << 24, backlog=2048)
        else:
            self._server = await asyncio.start_unix_server(self._serve, sock=listening, limit=1 << 24)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await self._serve_one(reader, writer)
        writer.close()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        lines = head.rstrip().split("\r\n")
        headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines[1:])]
        body = await _body(reader, dict(headers))
        self.seen.append((lines[0], headers, body))
        wish = json.loads(body) if body else {}
        if "events" in wish:
            await self._stream(writer, wish)
        else:
            self._answer(writer, wish)
        await writer.drain()

    def _answer(self, writer: asyncio.StreamWriter, wish: dict[str, Any]) -> None:
        text = {"role": "assistant", "content": self.name}
        usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
        answer = {
            "id": "echo",
            "object": "chat.completion",
            "created": 1,
            "model": wish.get("model"),
            "choices": [{"index": 0, "finish_reason": "stop", "message": text}],
            "usage": usage,
            "padding": "x" * wish.get("answer_bytes", 0),
        }
        data = json.dumps(answer).encode()
        status = wish.get("answer_status", 200)
        writer.write(b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % (status, len(data)) + data)

    async def _stream(self, writer: asyncio.StreamWriter, wish: dict[str, Any]) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for event in wish["events"]:
            data = event.encode()
            writer.write(b"%x\r\n%s\r\n" % (len(data), data))
            await writer.drain()
            await asyncio.sleep(wish.get("event_delay_s", 0))
        writer.write(b"0\r\n\r\n")


class StubProcess:
    """The stub engine as a process of its own, so that it can be killed."""

    def __init__(self, path: Path, name: str, model: str, log: Path) -> None:
        self.path = path
        path.unlink(missing_ok=True)
        self.process = child([*STUB, "--socket", str(path), "--served-name", model, "--instance", name], log)
        until(f"stub engine {name} listens", path.is_socket)


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if "chunked" in headers.get("transfer-encoding", ""):
        parts = []
        while size := int(re.sub(rb";.*", b"", await reader.readline()), 16):
            parts.append(await reader.readexactly(size))
            await reader.readline()
        await reader.readline()
        return b"".join(parts)
    return await reader.readexactly(int(headers.get("content-length", "0")))
