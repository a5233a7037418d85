"""How many replicas an endpoint asks for: what is recorded, or what the autoscaler says newer, within the bounds in force.

The first deployment proves itself with at least one replica, also where it may go to zero. While a rollout moves, the count never goes
down. Bounds hold at once: those of a new spec, and those of a schedule at its times.
"""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from fleetform.domain.effective import EffectiveEndpoint
from fleetform.domain.events import NewEvent
from fleetform.domain.rollout import RolloutState, StartTimes
from fleetform.domain.scaling import ScalingDecision, ScalingReason
from fleetform.planner.autoscale import is_fresh
from fleetform.planner.demand import Policy, edges, replicas
from fleetform.planner.schedule import CountBounds, bounds_at

R = ScalingReason
BOUNDS = (R.MINIMUM, R.MAXIMUM, R.SCHEDULE)
AND_SO = " and so is max_replicas"


def policy_of(effective: EffectiveEndpoint, state: RolloutState, start_times: Mapping[str, StartTimes], bounds: CountBounds) -> Policy:
    """What the endpoint asks of its scaling, with these bounds. start_times: by track id."""
    starts = [start_times[track].p95_s for track in state.new if track in start_times]
    return Policy(
        least=bounds.least,
        most=max(bounds.most, len(state.new)),
        target_concurrency=effective.target_concurrency,
        idle_s=effective.idle_s,
        # While traffic moves, the side that it leaves keeps as many as it had: no more than one is asked for of each new version.
        tracks=max(1, len(state.new)) if not state.old else 1,
        schedules=bounds.names,
        start_p95_s=max(starts, default=None),
    )


def may_move(effective: EffectiveEndpoint) -> bool:
    """True when the count depends on the load: something is left between the bounds, now or at the time of a schedule."""
    return effective.min_replicas < effective.max_replicas or bool(effective.schedule)


def chosen(
    effective: EffectiveEndpoint,
    state: RolloutState,
    recorded: ScalingDecision | None,
    newer: ScalingDecision | None,
    start_times: Mapping[str, StartTimes],
    now: datetime,
) -> ScalingDecision:
    """The decision that holds now; the recorded one, unchanged, when nothing speaks against it."""
    policy = policy_of(effective, state, start_times, bounds_at(effective, now))
    if recorded is None:
        return _first(policy, now)
    found = recorded
    if newer is not None and _is_newer(newer, recorded, now):
        found = newer
    if not state.settled and found.replicas < recorded.replicas:
        found = recorded
    count = min(max(found.replicas, policy.least), policy.most)
    if 0 < count < policy.tracks:
        count = policy.tracks
    same = count == found.replicas and (found.more_above, found.fewer_below) == edges(policy, count)
    if not same or _names_what_is_gone(policy, found):
        return _bounded(policy, found, count, recorded.replicas, now)
    return found


def _is_newer(newer: ScalingDecision, recorded: ScalingDecision, now: datetime) -> bool:
    """What was recorded later than now tells nothing of the order: a clock was set back since, or its server's was fast."""
    if recorded.at > now:
        return True
    return newer.at > recorded.at or (newer.at == recorded.at and newer.replicas != recorded.replicas)


def _first(policy: Policy, now: datetime) -> ScalingDecision:
    count = max(1, policy.least, policy.tracks)
    if count == policy.least:
        return _decision(policy, count, R.MINIMUM, policy.words("min_replicas"), now)
    least = max(1, policy.least)
    why = _versions(policy) if count > least else "the first deployment proves itself before it may go to zero"
    return _decision(policy, count, R.INITIAL, f"{replicas(count)}: {why}", now)


def _bounded(policy: Policy, found: ScalingDecision, count: int, before: int, now: datetime) -> ScalingDecision:
    """The decision as the bounds of now have it."""
    if count > found.replicas:
        words = policy.words("min_replicas") if count == policy.least else _versions(policy)
        reason = R.MINIMUM
    elif count < found.replicas:
        words, reason = policy.words("max_replicas"), R.MAXIMUM
    elif policy.least == policy.most:
        words, reason = policy.words("min_replicas") + AND_SO, R.MINIMUM
    elif _names_what_is_gone(policy, found):
        words, reason = _without_it(policy, count)
    else:
        # The same count between other bounds: what led to it still holds.
        return msgspec.structs.replace(_decision(policy, count, found.reason, found.message, now), load=found.load)
    bound = R.SCHEDULE if reason in BOUNDS and policy.schedules and count in (policy.least, policy.most) else reason
    return msgspec.structs.replace(_decision(policy, count, bound, words, now), before=before)


def _names_what_is_gone(policy: Policy, found: ScalingDecision) -> bool:
    """True when found comes from a bound, or from versions with traffic, that are others now."""
    if found.reason not in BOUNDS:
        return False
    bound = found.message.partition(";")[0].removesuffix(AND_SO)
    return bound not in (policy.words("min_replicas"), policy.words("max_replicas"), _versions(policy))


def _without_it(policy: Policy, count: int) -> tuple[str, ScalingReason]:
    """The words and the reason of a count that stays when what asked for it has gone."""
    if count == policy.least:
        return policy.words("min_replicas"), R.MINIMUM
    if count == policy.tracks:
        return _versions(policy), R.MINIMUM
    return f"{replicas(count)} were asked for by bounds of before; from now on the load decides", R.HELD


def _versions(policy: Policy) -> str:
    return f"{policy.tracks} versions have traffic"


def _decision(policy: Policy, count: int, reason: ScalingReason, message: str, now: datetime) -> ScalingDecision:
    more_above, fewer_below = edges(policy, count)
    return ScalingDecision(
        replicas=count,
        at=now,
        reason=reason,
        message=message,
        more_above=more_above,
        fewer_below=fewer_below,
        hold_s=policy.hold_s if fewer_below else 0.0,
    )


def told(before: ScalingDecision | None, after: ScalingDecision | None) -> tuple[NewEvent, ...]:
    """What a person wants to read of a decision that is new: that the count changed, or why it cannot follow the load."""
    if before is None or after is None:
        return ()
    if after.replicas != before.replicas:
        reason = "ScaledUp" if after.replicas > before.replicas else "ScaledDown"
        return (_event("Normal", reason, f"from {before.replicas} to {replicas(after.replicas)}", after),)
    if after.reason is R.MAXIMUM and before.reason is not R.MAXIMUM:
        return (_event("Warning", "AtMaximum", replicas(after.replicas), after),)
    if after.reason is R.NO_DATA and before.reason is not R.NO_DATA:
        return (_event("Warning", "LoadUnknown", replicas(after.replicas), after),)
    return ()


def _event(kind: str, reason: str, what: str, decision: ScalingDecision) -> NewEvent:
    return NewEvent(kind=kind, reason=reason, message=f"{what}: {decision.message}{_inputs(decision)}")


def _inputs(decision: ScalingDecision) -> str:
    """In parentheses, the load that it was decided by, as far as its sentence does not say it; with the time of one that was old."""
    load, sentence = decision.load, decision.message
    if load is None:
        return ""
    figures = [
        ("over 60 s", f"{load.stable:.1f} requests over 60 s"),
        ("over 6 s", f"{load.burst:.1f} over 6 s"),
        (" held and nothing runs", f"{load.queued} held"),
    ]
    if load.token_capacity is not None and load.tokens_in_use is not None:
        tokens = load.tokens_in_use + (load.tokens_waiting or 0.0)
        figures += [("tokens in use", f"{tokens:,.0f} tokens in use or waiting"), ("", f"one holds {load.token_capacity:,}")]
    told_at = "" if is_fresh(load.at, decision.at) else f"at {load.at:%H:%M:%S}: "
    return f" ({told_at}{', '.join(figure for said, figure in figures if not said or said not in sentence)})"
