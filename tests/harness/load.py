"""A steady load on an endpoint that judges every answer.

An answer counts only when it is whole: a stream by its last event and the absence of an error inside it, never by `[DONE]`.
"""

import threading
import time
from collections import Counter
from typing import Any

from openai import OpenAI, OpenAIError


class Load:
    """workers threads ask model one after another until stopped; every second worker streams.

    answered: whole answers. lost: what went wrong, in words. by: answers per served fingerprint (see `identify`).
    """

    def __init__(self, client: OpenAI, model: str, workers: int = 4, max_tokens: int = 4) -> None:
        self.client = client.with_options(max_retries=0)
        self.model = model
        self.max_tokens = max_tokens
        self.answered = 0
        self.lost: list[str] = []
        self.by: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work, args=(index % 2 == 1,), daemon=True) for index in range(workers)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=120)

    def answer_at_least(self, count: int, timeout_s: float = 60) -> None:
        """Return once count more answers have come; AssertionError when they do not."""
        goal, deadline = self.answered + count, time.monotonic() + timeout_s
        while self.answered < goal:
            assert time.monotonic() < deadline, f"{self.answered} of {goal} answers within {timeout_s} s; lost: {self.lost[:3]}"
            self._stop.wait(0.05)

    def _work(self, stream: bool) -> None:
        while not self._stop.is_set():
            try:
                fingerprint = self._stream() if stream else self._plain()
            except (OpenAIError, AssertionError, OSError) as error:
                with self._lock:
                    self.lost.append(f"{type(error).__name__}: {error}")
                self._stop.wait(0.2)
            else:
                with self._lock:
                    self.answered += 1
                    self.by[fingerprint] += 1

    def _ask(self, stream: bool) -> Any:
        return self.client.chat.completions.create(
            model=self.model, messages=[{"role": "user", "content": "Say one word."}], max_tokens=self.max_tokens, stream=stream
        )

    def _plain(self) -> str:
        answer = self._ask(stream=False)
        assert answer.choices[0].finish_reason is not None
        return str(answer.model)

    def _stream(self) -> str:
        finish, model = None, ""
        for chunk in self._ask(stream=True):
            model = chunk.model
            for choice in chunk.choices:
                finish = choice.finish_reason or finish
        assert finish is not None, "the stream ended without a finish reason"
        return str(model)
