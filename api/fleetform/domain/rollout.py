"""Tracks, and the state of moving traffic from one set of tracks to another.

A track is one way of running one variant: variant, model version, engine arguments, shape. Two replicas of a track are
interchangeable. A changed version, argument or instance type is another track, so that every change of an endpoint is the same
movement: start the new tracks, move the weights by steps, let the old tracks go.
"""

import hashlib
from datetime import datetime
from enum import StrEnum

import msgspec

from fleetform.domain.base import Record
from fleetform.domain.load import TrackWindow
from fleetform.domain.machine import EngineSpec, Shape
from fleetform.domain.model import Manifest


class Track(Record, frozen=True, kw_only=True):
    """All that a replica of this track is started with. track_id: `<variant>.<8 hex digits of the content>`.

    engine: `vllm`, or a declared engine's name with its frozen command. artifact, prefixes: where the files are fetched from.
    """

    track_id: str
    variant: str
    model_version: str
    artifact: str
    manifest: Manifest
    engine: str
    instance_type: str
    shape: Shape
    engine_args: dict[str, str] = {}
    command: EngineSpec | None = None
    quantization: str | None = None
    allow_remote_code: bool = False


def track_id(variant: str, *content: object) -> str:
    """The id of the track of variant with that content."""
    digest = hashlib.sha256(msgspec.json.encode(content, order="deterministic")).hexdigest()
    return f"{variant}.{digest[:8]}"


class RolloutState(Record, frozen=True, kw_only=True):
    """Where the endpoint's traffic stands. Weights: track id → percent; both sides sum to 100, an empty `old` means no incumbent.

    generation: the one that `new` comes from. step: index into `steps`; -1 before any weight has moved. step_at: when that step's
    weights were acknowledged by the proxy (None: not yet). settled: the last step is routed and acknowledged.
    tracks: every track that is still needed, by id. idle_since: tracks without traffic, and since when (the bake).
    failures: failed starts per track since it last had a ready replica, and when the last was. in_force: the split now routed.
    record: the rollout as `GET …/rollouts` tells it; None when the endpoint has had none.
    before: the last split that had settled before this one. back: `new` is that split again, so that it is neither stepped nor judged.
    baseline: how the incumbent did in the last step in which enough requests of it came to tell.
    """

    generation: int
    old: dict[str, int] = {}
    new: dict[str, int] = {}
    in_force: dict[str, int] = {}
    steps: tuple[int, ...] = (100,)
    step: int = -1
    step_at: datetime | None = None
    settled: bool = False
    tracks: dict[str, Track] = {}
    idle_since: dict[str, datetime] = {}
    failures: dict[str, "TrackFailures"] = {}
    record: "Rollout | None" = None
    before: dict[str, int] = {}
    back: bool = False
    baseline: TrackWindow | None = None


class TrackFailures(Record, frozen=True, kw_only=True):
    """Failed starts of one track in a row, when the last was, and its last words."""

    count: int
    last_at: datetime
    reason: str
    message: str
    log_tail: tuple[str, ...] = ()


SURGE, SWAP = "surge", "swap"
"""Strategies: new replicas start beside the old ones, or in their place."""


class StepOutcome(StrEnum):
    """What became of a step's gate. NOT_JUDGED: the hold is over and too few requests came to tell."""

    RUNNING = "Running"
    PASSED = "Passed"
    NOT_JUDGED = "NotJudged"
    FAILED = "Failed"


STEP_OUTCOMES: dict[StepOutcome, frozenset[StepOutcome]] = {
    StepOutcome.RUNNING: frozenset({StepOutcome.PASSED, StepOutcome.NOT_JUDGED, StepOutcome.FAILED}),
    StepOutcome.PASSED: frozenset(),
    StepOutcome.NOT_JUDGED: frozenset(),
    StepOutcome.FAILED: frozenset(),
}
"""What may become of a step's outcome: once it is told, it stays."""


class RollbackReason(StrEnum):
    """Why a version that started well was turned back by a step's gate."""

    TOO_MANY_ERRORS = "TooManyErrors"
    TOO_MANY_ABORTS = "TooManyAborts"
    TOO_MANY_REFUSALS = "TooManyRefusals"
    SLOW_FIRST_BYTE = "SlowFirstByte"
    SLOW_TOKENS = "SlowTokens"
    SLOW_ANSWERS = "SlowAnswers"


class RolloutStep(Record, frozen=True, kw_only=True):
    """One step of a rollout. percent: of the way to the new split. started_at: when every proxy had its weights (None: not yet).

    evidence: sentences with the figures that were compared, of the new and the incumbent version in the same time.
    """

    percent: int
    weights: dict[str, int]
    outcome: StepOutcome = StepOutcome.RUNNING
    started_at: datetime | None = None
    ended_at: datetime | None = None
    evidence: tuple[str, ...] = ()


class RolloutPhase(StrEnum):
    RUNNING = "Running"
    COMPLETED = "Completed"
    ROLLED_BACK = "RolledBack"
    SUPERSEDED = "Superseded"


ROLLOUT_PHASES: dict[RolloutPhase, frozenset[RolloutPhase]] = {
    RolloutPhase.RUNNING: frozenset({RolloutPhase.COMPLETED, RolloutPhase.ROLLED_BACK, RolloutPhase.SUPERSEDED}),
    RolloutPhase.COMPLETED: frozenset(),
    RolloutPhase.ROLLED_BACK: frozenset(),
    RolloutPhase.SUPERSEDED: frozenset(),
}
"""How a rollout ends. An ended one is never taken up again: another generation has a rollout of its own."""


class Rollout(Record, frozen=True, kw_only=True):
    """The move to one generation, for people. old, new: variant → weight; an empty old: nothing served before.

    strategy: `surge`, or `swap` in place behind the activator's queue; pause_s: how long requests are then expected to be held.
    reason, evidence: why it was rolled back.
    """

    generation: int
    phase: RolloutPhase
    strategy: str
    started_at: datetime
    old: dict[str, int]
    new: dict[str, int]
    steps: tuple[RolloutStep, ...] = ()
    ended_at: datetime | None = None
    pause_s: int | None = None
    reason: str = ""
    evidence: tuple[str, ...] = ()


class StartTimes(Record, frozen=True, kw_only=True):
    """How long starts of a version on an instance type took, learned from the last of them. count: how many those are. In seconds."""

    p50_s: float
    p95_s: float
    count: int


def split_at(old: dict[str, int], new: dict[str, int], percent: int) -> dict[str, int]:
    """The split that lies percent of the way from old to new, as whole weights that sum to 100; empty old gives new.

    Rounded by largest remainder, ties to the new side and then by track id, so that the same input gives the same split.
    """
    if not old or percent >= 100:
        return {track: weight for track, weight in sorted(new.items()) if weight > 0}
    exact = {t: (old.get(t, 0) * (100 - percent) + new.get(t, 0) * percent) for t in sorted(old.keys() | new.keys())}
    floor = {t: value // 100 for t, value in exact.items()}
    rest = 100 - sum(floor.values())
    order = sorted(exact, key=lambda t: (-(exact[t] % 100), t not in new, t))
    for t in order[:rest]:
        floor[t] += 1
    return {t: weight for t, weight in floor.items() if weight > 0}
