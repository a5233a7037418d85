"""What counts as an answer, and the tally of a load: every request has exactly one outcome, a whole answer or a loss with its reason.

A stream is judged by its last event, its finish reason and the absence of an error inside it. `[DONE]` proves nothing: engines send it
after an error too.
"""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

KIND_PLAIN, KIND_STREAM, KIND_LONG = "plain", "stream", "long stream"


class NotWhole(AssertionError):
    """The answer is not one that a client could use; the message says why."""


class Lost(NamedTuple):
    """A request without a whole answer. at: UTC, to the millisecond. status: None when no head of an answer came."""

    at: str
    kind: str
    status: int | None
    words: str


class Tally:
    """Counts outcomes; safe to use from several threads.

    sent: requests begun. answered: whole answers. lost: the others. by: answers per engine that gave them. slowest_s: of all answers
    but those of long streams.
    """

    def __init__(self) -> None:
        self.sent = 0
        self.answered = 0
        self.lost: list[Lost] = []
        self.by: Counter[str] = Counter()
        self.slowest_s = 0.0
        self._lock = threading.Lock()

    @property
    def under_way(self) -> int:
        """Requests that have no outcome yet."""
        with self._lock:
            return self.sent - self.answered - len(self.lost)

    def answer_at_least(self, count: int, timeout_s: float = 60) -> None:
        """Return once count more answers have come; AssertionError when they do not."""
        goal, deadline = self.answered + count, time.monotonic() + timeout_s
        while self.answered < goal:
            assert time.monotonic() < deadline, f"{self.answered} of {goal} answers within {timeout_s} s; lost: {self.lost[:3]}"
            time.sleep(0.02)

    def note_sent(self) -> None:
        """A request begins."""
        with self._lock:
            self.sent += 1

    def note_answer(self, kind: str, engine: str, spent_s: float) -> None:
        """It was answered whole, by engine."""
        with self._lock:
            self.answered += 1
            self.by[engine] += 1
            if kind != KIND_LONG:
                self.slowest_s = max(self.slowest_s, spent_s)

    def note_loss(self, kind: str, status: int | None, error: BaseException) -> None:
        """It was not."""
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        with self._lock:
            self.lost.append(Lost(at=at, kind=kind, status=status, words=f"{type(error).__name__}: {error}"[:400]))


def judge_plain(body: bytes) -> str:
    """The engine that gave this whole plain answer; NotWhole otherwise."""
    answer = _json(body.decode(errors="replace"))
    _refuse_error(answer)
    if not all(choice.get("finish_reason") for choice in answer.get("choices") or [{}]):
        raise NotWhole(f"no finish reason: {body[:200]!r}")
    return engine_of(answer)


class StreamJudge:
    """Takes the lines of a stream as they come; `verdict` after its orderly end."""

    def __init__(self) -> None:
        self.engine = ""
        self._finished = 0

    def take(self, line: str) -> None:
        """One line, without its end. NotWhole at an error inside the stream, and at text after its end."""
        if line.startswith("event: error"):
            raise NotWhole("an error event inside the stream")
        if not line.startswith("data:"):
            return
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            return
        event = _json(data)
        _refuse_error(event)
        self.engine = engine_of(event)
        for choice in event.get("choices") or ():
            if self._finished:
                raise NotWhole("more text after the finish reason")
            self._finished += bool(choice.get("finish_reason"))

    def verdict(self) -> str:
        """The engine that gave the stream; NotWhole when it did not finish."""
        if not self._finished:
            raise NotWhole("the stream ended without a finish reason")
        return self.engine


def judge_stream(lines: Iterable[str]) -> str:
    """The engine that gave this whole stream; NotWhole otherwise."""
    judge = StreamJudge()
    for line in lines:
        judge.take(line)
    return judge.verdict()


def in_words(losses: Iterable[Lost], most: int = 10) -> Iterator[str]:
    """One line a loss, the first few of them."""
    for number, loss in enumerate(losses):
        if number == most:
            yield "…"
            return
        yield f"{loss.at} {loss.kind} {loss.status or 'no answer'} {loss.words}"


def engine_of(answer: dict[str, Any]) -> str:
    """What an answer tells of who gave it: the fingerprint where there is one, else the model."""
    return str(answer.get("system_fingerprint") or answer.get("model") or "")


def _json(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        raise NotWhole(f"not JSON: {text[:200]!r}") from None
    if not isinstance(value, dict):
        raise NotWhole(f"not a JSON object: {text[:200]!r}")
    return value


def _refuse_error(event: dict[str, Any]) -> None:
    if event.get("error") or event.get("object") == "error":
        raise NotWhole(f"an error instead of an answer: {json.dumps(event)[:200]}")
