"""How many replicas an endpoint should have by its load, and why: a decision that a person can read."""

from datetime import datetime
from enum import StrEnum

from fleetform.domain.base import Record


class LoadSample(Record, frozen=True, kw_only=True):
    """An endpoint's load, summed over all gateways. at: when the oldest part was counted. since: when the youngest gateway began to count.

    stable, burst: requests under way or held, averaged over 60 s and 6 s. queued: held now. idle_s: since the last request.
    Of the engines, None where they do not say: tokens_in_use, tokens_waiting: in all of them; token_capacity: of one.
    """

    at: datetime
    since: datetime
    stable: float
    burst: float
    queued: int = 0
    idle_s: float = 0.0
    tokens_in_use: float | None = None
    tokens_waiting: float | None = None
    token_capacity: int | None = None


class ScalingReason(StrEnum):
    """What decided a count of replicas."""

    INITIAL = "Initial"
    CONCURRENCY = "Concurrency"
    BURST = "Burst"
    TOKENS = "Tokens"
    WOKEN = "Woken"
    IDLE = "Idle"
    MINIMUM = "Minimum"
    MAXIMUM = "Maximum"
    SCHEDULE = "Schedule"
    HELD = "Held"
    STEP_LIMIT = "StepLimit"
    NO_DATA = "NoData"
    ROLLOUT = "Rollout"


class ScalingDecision(Record, frozen=True, kw_only=True):
    """How many replicas, since when, and why. message: a sentence with the figures. more_above, fewer_below: the load (requests under way
    or held) beyond which it would be another count; None: no load would change it.
    hold_s: how long the load must be below; 0: goes by idle_s.
    """

    replicas: int
    at: datetime
    reason: ScalingReason
    message: str
    before: int | None = None
    load: LoadSample | None = None
    more_above: float | None = None
    fewer_below: float | None = None
    hold_s: float = 0.0
