"""What a load asks for, before anything limits how fast a count may follow.

A load of L requests under way or held needs room for L + 2·√L: requests come by chance, and the spread of their number grows with its
root, so that a small endpoint needs more to spare for each request than a large one. This is square-root staffing (Halfin and Whitt,
1981), with which one request in thirty has to wait. A replica has room for target_concurrency.
"""

import math

from fleetform.domain.base import Record
from fleetform.domain.scaling import LoadSample, ScalingReason

R = ScalingReason
SPARE = 2.0
TOKEN_SHARE = 0.85
DEAD_BAND = 0.1
HOLD_S = 300.0
COLD_STARTS = 5


class Policy(Record, frozen=True, kw_only=True):
    """What the endpoint asks of its scaling now. least, most: the bounds in force; schedules: that they come from, if any.

    tracks: versions with traffic, each of which runs once when anything does. start_p95_s: of the slowest of them; None: not known.
    """

    least: int
    most: int
    target_concurrency: int
    idle_s: int
    tracks: int = 1
    schedules: tuple[str, ...] = ()
    start_p95_s: float | None = None

    @property
    def hold_s(self) -> float:
        """How long the most that was asked for is kept."""
        return max(HOLD_S, COLD_STARTS * (self.start_p95_s or 0.0))

    def words(self, bound: str) -> str:
        """`min_replicas is 2`, and by which schedule."""
        value = self.least if bound == "min_replicas" else self.most
        return f"{bound} is {value}" + (f" by schedule {', '.join(self.schedules)}" if self.schedules else "")


class Asked(Record, frozen=True, kw_only=True):
    """A count with what it comes from."""

    count: int
    reason: ScalingReason
    message: str


def room_for(load: float) -> float:
    """The requests that there must be room for when so many are under way or held on average."""
    return load + SPARE * math.sqrt(load)


def load_within(room: float) -> float:
    """The load that needs so much room: the inverse of `room_for`."""
    return (math.sqrt(room + SPARE**2 / 4) - SPARE / 2) ** 2


def by_load(policy: Policy, load: LoadSample, count: int) -> Asked:
    """What is asked for where count replicas are wanted so far; within a tenth of what those have room for, it is count."""
    asked = _by_concurrency(policy, load, count)
    tokens = _by_tokens(load)
    return asked if tokens is None or tokens.count <= asked.count else tokens


def _by_concurrency(policy: Policy, load: LoadSample, count: int) -> Asked:
    """By the requests under way or held: over a minute or, where that is more, over the last six seconds."""
    burst = load.burst > load.stable
    counted = load.burst if burst else load.stable
    room = room_for(counted)
    asked = math.ceil(room / policy.target_concurrency - 1e-9)
    if count > 0 and abs(room / (policy.target_concurrency * count) - 1) <= DEAD_BAND:
        asked = count
    message = (
        f"{counted:.1f} requests under way or held on average over {6 if burst else 60} s need room for {room:.1f}: "
        f"{replicas(asked)} at target_concurrency {policy.target_concurrency}"
    )
    return Asked(count=asked, reason=R.BURST if burst else R.CONCURRENCY, message=message)


def _by_tokens(load: LoadSample) -> Asked | None:
    """By what the engines' memory holds: requests differ in length, and a few long ones fill a replica."""
    if not load.token_capacity or load.tokens_in_use is None:
        return None
    tokens = load.tokens_in_use + (load.tokens_waiting or 0.0)
    room = TOKEN_SHARE * load.token_capacity
    count = math.ceil(tokens / room - 1e-9)
    message = f"{tokens:,.0f} tokens in use or waiting: {replicas(count)} at {room:,.0f} each, {TOKEN_SHARE:.0%} of what one holds"
    return Asked(count=count, reason=R.TOKENS, message=message)


def edges(policy: Policy, count: int) -> tuple[float | None, float | None]:
    """The load above which it would be more than count, and the one below which, for as long as the hold, it would be fewer."""
    full = count * policy.target_concurrency
    more = None if count >= policy.most else round(load_within(full * (1 + DEAD_BAND)) if count else 0.0, 2)
    if count <= policy.least:
        return more, None
    if count <= policy.tracks:
        return more, 0.0
    return more, round(load_within(min(full - policy.target_concurrency, full * (1 - DEAD_BAND))), 2)


def replicas(count: int) -> str:
    return "1 replica" if count == 1 else f"{count} replicas"
