"""One kept-alive connection to a gateway that asks the same question until another engine answers."""

import asyncio
import json
import time

REQUEST_MAX_S = 30


class Probe:
    """Asks endpoint at a gateway with key. Open it with `async with`."""

    def __init__(self, port: int, key: str, endpoint: str) -> None:
        body = json.dumps({"model": endpoint, "messages": [{"role": "user", "content": "Who?"}], "max_tokens": 1}).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {key}\r\ncontent-length: {len(body)}\r\n\r\n"
        self._port = port
        self._request = head.encode() + body

    async def __aenter__(self) -> "Probe":
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._writer.close()

    async def engine(self) -> str:
        """Which engine answers now. AssertionError when it is an error instead."""
        self._writer.write(self._request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(head.partition("content-length:")[2].partition("\r\n")[0])
        body = await self._reader.readexactly(length)
        assert " 200 " in head.partition("\r\n")[0], body.decode()
        return str(json.loads(body)["system_fingerprint"])

    async def other_than(self, engine: str) -> tuple[str, float]:
        """The first engine other than this one that answers, and `time.perf_counter()` when it had."""
        async with asyncio.timeout(REQUEST_MAX_S):
            while True:
                found = await self.engine()
                if found != engine:
                    return found, time.perf_counter()
