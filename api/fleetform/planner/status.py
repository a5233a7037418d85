"""What users are told: conditions with reasons, the phase word, what serves now, what was turned back."""

from collections.abc import Iterable
from datetime import datetime

import msgspec

from fleetform.domain.base import Record
from fleetform.domain.conditions import Condition, ConditionType, Reason, condition, with_condition
from fleetform.domain.desired import Desired
from fleetform.domain.endpoint import EndpointStatus, LiveState, Rejected, ReplicaCounts
from fleetform.domain.replica import FailureReason, Replica, ReplicaPhase
from fleetform.domain.rollout import RolloutState
from fleetform.planner import history, rollout
from fleetform.planner.model import Blocked, BlockReason

P = ReplicaPhase
Verdict = tuple[bool, Reason, str]
LOG_LINES = 50


class Picture(Record, frozen=True, kw_only=True):
    """Everything that the status is made of. stalled: why nothing more is tried, or empty. counted: replicas that are wanted.

    config_rejected: the proxy's words about the last route, or empty. away: hosts that do not answer.
    """

    desired: Desired
    before: EndpointStatus
    state: RolloutState | None
    replicas: tuple[Replica, ...]
    blocked: tuple[Blocked, ...]
    counted: int
    stalled: str = ""
    rejected: Rejected | None = None
    config_rejected: str = ""
    away: tuple[str, ...] = ()


def status(picture: Picture, now: datetime) -> EndpointStatus:
    """The endpoint's status; its revision is the store's to raise when something differs."""
    desired, state = picture.desired, picture.state
    conditions = picture.before.conditions
    for type_, judge in JUDGES:
        held, reason, message = judge(picture)
        conditions = with_condition(conditions, type_, held, reason, message, now)
    live = _live(picture)
    settled = state is not None and state.settled and state.generation == desired.generation
    serves = next(c.status for c in conditions if c.type is ConditionType.READY)
    return msgspec.structs.replace(
        picture.before,
        observed_generation=desired.generation,
        phase=phase_word(picture),
        conditions=conditions,
        effective=desired.effective,
        live=live,
        rejected=picture.rejected,
        replicas=_counts(picture),
        ready=settled and serves and not desired.deleting,
    )


def _live(picture: Picture) -> LiveState | None:
    desired, state = picture.desired, picture.state
    if state is None or not state.settled or state.generation != desired.generation or picture.rejected is not None:
        return picture.before.live
    return LiveState(generation=desired.generation, variants=desired.effective.variants, instance_type=desired.effective.instance_type)


def _counts(picture: Picture) -> ReplicaCounts:
    phases = [replica.phase for replica in picture.replicas]
    return ReplicaCounts(
        wanted=0 if picture.desired.deleting else picture.counted,
        ready=sum(1 for replica in picture.replicas if replica.serves and replica.lost_since is None),
        starting=sum(phases.count(phase) for phase in (P.PLACING, P.FETCHING, P.STARTING)),
        draining=phases.count(P.DRAINING),
    )


def ready(picture: Picture) -> Verdict:
    """Requests are answered by what the last accepted spec asks for, or by what served before it while it is on its way."""
    if picture.desired.deleting:
        return False, Reason.DELETING, "the endpoint is being deleted"
    if picture.rejected is not None:
        return False, Reason.ROLLED_BACK, f"generation {picture.rejected.generation} was rolled back: {picture.rejected.words}"
    if _serves(picture):
        return True, Reason.SERVING, ""
    if _rests(picture):
        return True, Reason.SCALED_TO_ZERO, "" if picture.counted == 0 else "a request is held while a replica starts"
    if picture.before.live is not None:
        return False, Reason.NO_READY_REPLICA, "no replica is ready"
    return False, Reason.STARTING, "the first replica is not ready yet"


def _serves(picture: Picture) -> bool:
    weights = {} if picture.state is None else picture.state.in_force
    return any(r.serves and weights.get(r.track, 0) > 0 for r in picture.replicas)


def _rests(picture: Picture) -> bool:
    """True when nothing has to run, or starts from nothing and nothing has gone wrong: requests are held meanwhile, none is refused."""
    if picture.state is None or not picture.state.settled:
        return False
    if picture.counted == 0:
        return True
    before = condition(picture.before.conditions, ConditionType.READY)
    slept = before is not None and before.reason is Reason.SCALED_TO_ZERO
    return slept and not picture.state.failures and not _waits_for_room(picture)


def progressing(picture: Picture) -> Verdict:
    """Something is on its way; False and Stalled when nothing more is tried until spec or hosts change."""
    if picture.desired.deleting:
        return True, Reason.DRAINING, "replicas finish their requests and stop"
    if picture.stalled:
        return False, Reason.STALLED, picture.stalled
    phases = {replica.phase for replica in picture.replicas}
    state = picture.state
    if state is not None and state.settled:
        if P.DRAINING in phases:
            return True, Reason.DRAINING, "replicas that are not needed finish their requests and stop"
        if not phases & {P.PLACING, P.FETCHING, P.STARTING} and not _waits_for_room(picture):
            return False, Reason.SETTLED, ""
    for phase, reason in ((P.STARTING, Reason.STARTING), (P.FETCHING, Reason.FETCHING), (P.PLACING, Reason.PLACING)):
        if phase in phases:
            return True, reason, _rollout_words(picture)
    if state is not None and _serves(picture) and not _waits_for_room(picture):
        return True, Reason.SHIFTING_TRAFFIC, _rollout_words(picture)
    return True, Reason.PLACING, _rollout_words(picture)


def _rollout_words(picture: Picture) -> str:
    state = picture.state
    return "" if state is None else history.words(state, rollout.step_ends(state, picture.desired.effective))


def _waits_for_room(picture: Picture) -> bool:
    return any(b.reason in ADMISSION for b in picture.blocked)


ADMISSION = {
    BlockReason.VERSION_NOT_VERIFIED: Reason.VERSION_NOT_VERIFIED,
    BlockReason.VERSION_REFUSED: Reason.VERSION_NOT_VERIFIED,
    BlockReason.QUOTA_EXHAUSTED: Reason.QUOTA_EXHAUSTED,
    BlockReason.NO_CAPACITY: Reason.NO_CAPACITY,
    BlockReason.NO_SURGE_CAPACITY: Reason.NO_CAPACITY,
    BlockReason.MODEL_DOES_NOT_FIT: Reason.NO_CAPACITY,
    BlockReason.UNKNOWN_INSTANCE_TYPE: Reason.NO_CAPACITY,
}


def admitted(picture: Picture) -> Verdict:
    """What the spec asks for has its versions, its quota and its place."""
    for blocked in picture.blocked:
        if blocked.reason in ADMISSION:
            return False, ADMISSION[blocked.reason], blocked.message
    return True, Reason.ADMITTED, ""


def degraded(picture: Picture) -> Verdict:
    """Less serves than is asked for, through a fault."""
    if picture.config_rejected:
        return True, Reason.CONFIG_REJECTED, f"the proxy refused the route: {picture.config_rejected}"
    if picture.away:
        lost = any(replica.lost_since is not None for replica in picture.replicas)
        kept = "what it serves is kept in the route" + (", and replaced on other hosts as far as there is room" if lost else "")
        return True, Reason.HOST_UNREACHABLE, f"no answer from {', '.join(picture.away)}; {kept}"
    hung = [replica for replica in picture.replicas if replica.phase is P.READY and not replica.serves]
    if hung:
        names = ", ".join(f"{replica.replica_id} of {replica.track}" for replica in hung)
        return True, Reason.HUNG, f"no progress and no answer from {names}: it gets no new requests, and is replaced unless it comes back"
    failures = {} if picture.state is None else picture.state.failures
    for track, failure in sorted(failures.items()):
        reason = NAMED.get(failure.reason, Reason.CRASH_LOOP)
        often = "once" if failure.count == 1 else f"{failure.count} times in a row"
        return True, reason, f"{track}: failed {often}, the last: {words(failure.reason, failure.message, failure.log_tail)}"
    slow = [replica for replica in picture.replicas if replica.phase is P.READY and replica.slow]
    if slow:
        return True, Reason.SLOW, "; ".join(f"{replica.replica_id} of {replica.track}: {replica.slow}" for replica in slow)
    if picture.state is not None and picture.state.settled and _waits_for_room(picture):
        limit = next(b.message for b in picture.blocked if b.reason in ADMISSION)
        return True, Reason.SCALING_LIMITED, limit
    for blocked in picture.blocked:
        if blocked.reason is BlockReason.WORN:
            return True, Reason.SCALING_LIMITED, blocked.message
    return False, Reason.NONE, ""


NAMED: dict[str, Reason] = {FailureReason.OOM_KILLED: Reason.OOM_KILLED, FailureReason.HUNG: Reason.HUNG}
"""Failures that have a reason of their own; the others are a crash loop."""


def words(reason: str, message: str, log_tail: Iterable[str]) -> str:
    """A failure in one text: reason, sentence, and the last log lines."""
    tail = "\n".join(list(log_tail)[-LOG_LINES:])
    said = f"{reason}: {message}" if message else reason
    return f"{said}\n{tail}" if tail else said


JUDGES = (
    (ConditionType.READY, ready),
    (ConditionType.PROGRESSING, progressing),
    (ConditionType.ADMITTED, admitted),
    (ConditionType.DEGRADED, degraded),
)


def phase_word(picture: Picture) -> str:
    """One word for tables and for the activator."""
    if picture.desired.deleting:
        return "Deleting"
    if picture.rejected is not None:
        return "RolledBack"
    if _serves(picture):
        if picture.stalled or degraded(picture)[0]:
            return "Degraded"
        return "Ready" if picture.state is not None and picture.state.settled else "Updating"
    if picture.stalled:
        return "Stalled"
    if picture.counted == 0 and _rests(picture):
        return str(Reason.SCALED_TO_ZERO)
    _, reason, _ = progressing(picture)
    if reason is Reason.SETTLED and degraded(picture)[0]:
        return "Degraded"  # nothing is on its way, and nothing serves, as when all of it hangs
    return "Pending" if _waits_for_room(picture) else str(reason)


def changed(before: Iterable[Condition], after: Iterable[Condition]) -> list[Condition]:
    """Conditions whose status or reason differs from before."""
    old = {c.type: (c.status, c.reason) for c in before}
    return [c for c in after if old.get(c.type) != (c.status, c.reason)]


BAD = frozenset(
    {
        Reason.ROLLED_BACK,
        Reason.NO_READY_REPLICA,
        Reason.STALLED,
        Reason.QUOTA_EXHAUSTED,
        Reason.NO_CAPACITY,
        Reason.CRASH_LOOP,
        Reason.OOM_KILLED,
        Reason.HUNG,
        Reason.SLOW,
        Reason.HOST_UNREACHABLE,
        Reason.CONFIG_REJECTED,
        Reason.SCALING_LIMITED,
    }
)
"""Reasons whose events are warnings."""
