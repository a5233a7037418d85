"""Replays a trace of requests against a rule that sets the number of replicas, in simulated time.

The model: a replica serves SLOTS requests at once and takes cold_s to start; requests wait in one line; each takes
0.2 s + prompt tokens ÷ 8,000 + 20 ms per output token, its first token after all but the last term. It begins with one ready replica.
Simple on purpose: it ranks rules by the same requests, and does not predict what a real engine does.
"""

import csv
import heapq
import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple, Protocol

SLOTS = 8
MAX_REPLICAS = 20
START_S, PREFILL_TOKENS_PER_S, TOKEN_S = 0.2, 8000.0, 0.02


class Request(NamedTuple):
    """at_s: after the first one of the trace."""

    at_s: float
    prompt_tokens: int
    output_tokens: int

    @property
    def first_token_s(self) -> float:
        """From its start to its first token."""
        return START_S + self.prompt_tokens / PREFILL_TOKENS_PER_S

    @property
    def service_s(self) -> float:
        return self.first_token_s + self.output_tokens * TOKEN_S


class View(NamedTuple):
    """What a rule may look at. under_way: requests served or waiting at each whole second up to now, averaged over it."""

    now_s: float
    ready: int
    starting: int
    waiting: int
    tokens_in_use: int
    under_way: Sequence[float]
    arrivals: Sequence[int]

    def average(self, window_s: int) -> float:
        """Requests served or waiting, averaged over the last seconds; what was before the first request is 0."""
        return sum(self.under_way[-window_s:]) / window_s

    def rate(self, window_s: int) -> float:
        """Requests a second that came in the last seconds."""
        return sum(self.arrivals[-window_s:]) / window_s


class Rule(Protocol):
    """A way to choose the number of replicas, asked every tick_s."""

    name: str
    tick_s: int

    def count(self, view: View) -> int:
        """How many there should be."""


class Score(NamedTuple):
    """met: share of requests whose first token came in time. hours: replica-hours. flips: changes of direction."""

    met: float
    hours: float
    flips: int
    highest: int


def read(path: Path) -> list[Request]:
    """The requests of a trace with the columns TIMESTAMP, ContextTokens and GeneratedTokens, in order of arrival."""
    with path.open(newline="") as file:
        rows = [
            (datetime.fromisoformat(r["TIMESTAMP"][:26]), int(r["ContextTokens"]), int(r["GeneratedTokens"])) for r in csv.DictReader(file)
        ]
    rows.sort()
    first = rows[0][0]
    return [Request((at - first).total_seconds(), prompt, output) for at, prompt, output in rows]


class Replica:
    """born_s: when its start began; from then on it costs. ready_s: when it serves."""

    def __init__(self, born_s: float, ready_s: float) -> None:
        self.born_s, self.ready_s = born_s, ready_s
        self.busy = 0
        self.leaving = False


class Replay:
    """One trace under one rule."""

    def __init__(self, requests: list[Request], rule: Rule, cold_s: float, slo_s: float = 2.0) -> None:
        self._requests, self._rule, self._cold_s, self._slo_s = requests, rule, cold_s, slo_s
        self._replicas = [Replica(0.0, 0.0)]
        self._line: deque[Request] = deque()
        self._ends: list[tuple[float, int, Replica, Request]] = []
        self._number = 0
        self._met = 0
        self._paid_s = 0.0
        self._now_s = 0.0
        self._area = 0.0
        self._tokens = 0
        self._under_way: list[float] = []
        self._arrivals: list[int] = []
        self._wanted: list[int] = [1]

    def run(self) -> Score:
        """Until every request is answered."""
        coming = iter(self._requests)
        for second in self._seconds():
            self._pass_second(second, coming)
        for replica in self._replicas:
            self._paid_s += self._now_s - replica.born_s
        return Score(self._met / len(self._requests), self._paid_s / 3600, flips(self._wanted), max(self._wanted))

    def _seconds(self) -> Iterator[int]:
        second, last_s = 0, self._requests[-1].at_s
        self._next: Request | None = None
        while second <= last_s + 1 or self._line or self._ends:
            yield second
            second += 1

    def _pass_second(self, second: int, coming: Iterator[Request]) -> None:
        """Everything that happens from second to the next one, then the rule's turn."""
        self._area, arrived = 0.0, 0
        end_s = second + 1.0
        while True:
            self._next = self._next or next(coming, None)
            arrival_s = self._next.at_s if self._next is not None else float("inf")
            ready_s = (
                min((r.ready_s for r in self._replicas if r.ready_s > self._now_s), default=float("inf")) if self._line else float("inf")
            )
            ended_s = self._ends[0][0] if self._ends else float("inf")
            at_s = min(arrival_s, ready_s, ended_s)
            if at_s >= end_s:
                break
            self._advance(at_s)
            if at_s == ended_s:
                self._end()
            elif at_s == arrival_s and self._next is not None:
                self._line.append(self._next)
                self._next = None
                arrived += 1
            self._serve()
        self._advance(end_s)
        self._under_way.append(self._area)
        self._arrivals.append(arrived)
        self._serve()
        if (second + 1) % self._rule.tick_s == 0:
            self._scale()

    def _advance(self, to_s: float) -> None:
        self._area += (to_s - self._now_s) * (len(self._line) + len(self._ends))
        self._now_s = to_s

    def _end(self) -> None:
        _, _, replica, request = heapq.heappop(self._ends)
        replica.busy -= 1
        self._tokens -= request.prompt_tokens + request.output_tokens
        if replica.leaving and replica.busy == 0:
            self._remove(replica)

    def _serve(self) -> None:
        while self._line:
            free = [r for r in self._replicas if r.ready_s <= self._now_s and not r.leaving and r.busy < SLOTS]
            if not free:
                return
            request, replica = self._line.popleft(), min(free, key=lambda r: r.busy)
            replica.busy += 1
            self._number += 1
            self._tokens += request.prompt_tokens + request.output_tokens
            heapq.heappush(self._ends, (self._now_s + request.service_s, self._number, replica, request))
            self._met += self._now_s + request.first_token_s - request.at_s <= self._slo_s

    def _scale(self) -> None:
        staying = [r for r in self._replicas if not r.leaving]
        ready = sum(r.ready_s <= self._now_s for r in staying)
        view = View(self._now_s, ready, len(staying) - ready, len(self._line), self._tokens, self._under_way, self._arrivals)
        wanted = max(1, min(MAX_REPLICAS, self._rule.count(view)))
        self._wanted.append(wanted)
        for _ in range(wanted - len(staying)):
            self._replicas.append(Replica(self._now_s, self._now_s + self._cold_s))
        if wanted < len(staying):
            # Those not ready first, then the idle ones, then the youngest.
            order = sorted(staying, key=lambda r: (r.ready_s <= self._now_s, r.busy > 0, -r.born_s))
            for replica in order[: len(staying) - wanted]:
                replica.leaving = True
                if replica.busy == 0:
                    self._remove(replica)

    def _remove(self, replica: Replica) -> None:
        self._paid_s += self._now_s - replica.born_s
        self._replicas.remove(replica)


def flips(wanted: Sequence[int]) -> int:
    """How often a count that rose falls next, or the other way round."""
    moves = [b - a for a, b in itertools.pairwise(wanted) if a != b]
    return sum((a > 0) != (b > 0) for a, b in itertools.pairwise(moves))
