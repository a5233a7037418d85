"""Loads on an endpoint that judge every answer (see judging.py).

`Load` asks one request after another by the OpenAI SDK, as an application does. `SteadyLoad` sends at a fixed rate whatever comes
back, beside long streams: what is lost in a change shows as it would for many users.
"""

import asyncio
import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
from openai import APIStatusError, OpenAI, OpenAIError

from tests.harness.judging import KIND_LONG, KIND_PLAIN, KIND_STREAM, NotWhole, StreamJudge, Tally, engine_of, judge_plain

MESSAGES: list[Any] = [{"role": "user", "content": "Say one word."}]
STOP_S = 120.0


class Load(Tally):
    """workers threads ask model one after another until stopped; every second worker streams, unless streams is false."""

    def __init__(self, client: OpenAI, model: str, workers: int = 4, max_tokens: int = 4, *, streams: bool = True) -> None:
        super().__init__()
        self.client = client.with_options(max_retries=0)
        self.model = model
        self.max_tokens = max_tokens
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(streams and index % 2 == 1,), daemon=True) for index in range(workers)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=STOP_S)

    def _work(self, stream: bool) -> None:
        kind = KIND_STREAM if stream else KIND_PLAIN
        while not self._stop.is_set():
            self.note_sent()
            begun = time.monotonic()
            try:
                engine = self._stream() if stream else self._plain()
            except (OpenAIError, AssertionError, OSError, httpx2.HTTPError) as error:
                self.note_loss(kind, error.status_code if isinstance(error, APIStatusError) else None, error)
                self._stop.wait(0.2)
            else:
                self.note_answer(kind, engine, time.monotonic() - begun)

    def _ask(self, stream: bool) -> Any:
        return self.client.chat.completions.create(model=self.model, messages=MESSAGES, max_tokens=self.max_tokens, stream=stream)

    def _plain(self) -> str:
        answer = self._ask(stream=False)
        if answer.choices[0].finish_reason is None:
            raise NotWhole("no finish reason")
        return engine_of(answer.model_dump())

    def _stream(self) -> str:
        """The SDK itself raises at an error inside the stream, and at a cut."""
        finish, engine = None, ""
        for chunk in self._ask(stream=True):
            engine = engine_of(chunk.model_dump())
            for choice in chunk.choices:
                finish = choice.finish_reason or finish
        if finish is None:
            raise NotWhole("the stream ended without a finish reason")
        return engine


class SteadyLoad(Tally):
    """rate requests a second to model, every second one streamed, and long_streams at any time, each asking for long_body.

    plain_body, long_body: what is sent beside the model and the messages. A request that is under way when the load stops is awaited.
    """

    def __init__(
        self,
        base_url: str,
        key: str,
        model: str,
        *,
        rate: float = 50.0,
        long_streams: int = 20,
        plain_body: dict[str, Any] | None = None,
        long_body: dict[str, Any] | None = None,
        streams: bool = True,
        timeout_s: float = 120.0,
    ) -> None:
        super().__init__()
        self.model = model
        self.rate = rate
        self.long_streams = long_streams
        self.streams = streams
        self._plain_body = plain_body or {"max_tokens": 3}
        self._long_body = long_body or {"max_tokens": 100, "stub_token_delay_s": 0.2}
        self._url = f"{base_url}/chat/completions"
        self._headers = {"authorization": f"Bearer {key}"}
        self._timeout_s = timeout_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._tasks: set[asyncio.Task[bool]] = set()

    def __enter__(self) -> "SteadyLoad":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stopped.set()
        self._thread.join(timeout=self._timeout_s + STOP_S)
        if exc[0] is None:
            assert not self._thread.is_alive(), f"{self.under_way} requests have no outcome"

    async def _run(self) -> None:
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=100)
        async with httpx2.AsyncClient(headers=self._headers, timeout=self._timeout_s, limits=limits, trust_env=False) as client:
            longs = [asyncio.create_task(self._ask_for_ever(client)) for _ in range(self.long_streams)]
            await self._keep_rate(client)
            await asyncio.gather(*longs, *self._tasks)

    async def _keep_rate(self, client: httpx2.AsyncClient) -> None:
        """Each request leaves at its own time, also when earlier ones are not back, or this loop was late."""
        begun = time.monotonic()
        for number in itertools.count():
            await asyncio.sleep(max(0.0, begun + number / self.rate - time.monotonic()))
            if self._stopped.is_set():
                return
            kind = KIND_STREAM if self.streams and number % 2 else KIND_PLAIN
            task = asyncio.create_task(self._ask(client, kind))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _ask_for_ever(self, client: httpx2.AsyncClient) -> None:
        while not self._stopped.is_set():
            if not await self._ask(client, KIND_LONG):
                await asyncio.sleep(0.2)

    async def _ask(self, client: httpx2.AsyncClient, kind: str) -> bool:
        """One request and its outcome; whether it was answered."""
        self.note_sent()
        begun = time.monotonic()
        status: list[int] = []
        body = {"model": self.model, "messages": MESSAGES, **(self._long_body if kind == KIND_LONG else self._plain_body)}
        try:
            if kind == KIND_PLAIN:
                engine = await self._plain(client, body, status)
            else:
                engine = await self._stream(client, {**body, "stream": True}, status)
        except (httpx2.HTTPError, NotWhole, OSError) as error:
            self.note_loss(kind, status[0] if status else None, error)
            return False
        self.note_answer(kind, engine, time.monotonic() - begun)
        return True

    async def _plain(self, client: httpx2.AsyncClient, body: dict[str, Any], status: list[int]) -> str:
        answer = await client.post(self._url, json=body)
        status.append(answer.status_code)
        return judge_plain(answer.content)

    async def _stream(self, client: httpx2.AsyncClient, body: dict[str, Any], status: list[int]) -> str:
        judge = StreamJudge()
        async with client.stream("POST", self._url, json=body) as answer:
            status.append(answer.status_code)
            if answer.status_code != 200:
                raise NotWhole((await answer.aread()).decode(errors="replace")[:300])
            async for line in answer.aiter_lines():
                judge.take(line)
        return judge.verdict()


@contextmanager
def nothing_lost(load: Tally) -> Iterator[None]:
    """Around a fault: what load loses from here to the end of the block is an AssertionError that tells it."""
    before = len(load.lost)
    yield
    assert load.lost[before:] == []
