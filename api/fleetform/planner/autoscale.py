"""How many replicas an endpoint should have by its load. Pure: `desired_replicas` from a sample, the count there is, and what it remembers.

    asked   room for L + 2·√L requests, L = the larger of the averages over 60 s and over 6 s     demand.py
            tokens in use or waiting ÷ 0.85 of what one replica holds
            1 while requests are held; within 10 % of what runs, what runs
    up      at once, in 15 s by at most the larger of ×2 and +4; from 0 as soon as a request is held
    down    to the most that was asked for in the last H = max(300 s, 5 × p95 of a start), in 15 s by at most half,
            never while a rollout moves; to 0 only after idle_s without a request
    hold    nothing was heard for 10 s, or a gateway counts anew since less than 60 s; while one gateway of several is silent it
            only goes up, by what the others tell
    bounds  min_replicas and max_replicas, or those of the schedules in force

Counts are absolute, so that replicas on their way are counted as what they will be. benchmarks/f8.py measures the rule on recorded
traffic beside those of others.
"""

from datetime import datetime, timedelta

import msgspec

from fleetform.domain.base import Record
from fleetform.domain.scaling import LoadSample, ScalingDecision, ScalingReason
from fleetform.planner.demand import Asked, Policy, by_load, edges

R = ScalingReason
STEP_S = 15.0
STEP_TIMES, STEP_PLUS = 2, 4
FRESH_S = 10.0
WINDOW_S = 60.0
GAP_S = 30.0
"""A pause between two decisions after which nothing is remembered: the program stood still, or its clock was set."""


class Supply(Record, frozen=True, kw_only=True):
    """What there is. count: the replicas that the recorded decision wants. ready_since: of those that are ready, the first.

    rolling: a rollout moves, or the first deployment has not proven itself.
    """

    count: int
    ready_since: datetime | None = None
    rolling: bool = False


class Unheard(Record, frozen=True, kw_only=True):
    """Gateways that the sample lacks. silent: not heard for FRESH_S, while others were; what is under way there is not known.

    left_out: silent for so long that nothing is under way there any more that counts.
    """

    silent: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


ALL_HEARD = Unheard()


class Mark(Record, frozen=True, kw_only=True):
    at: datetime
    count: int


class Memory(Record, frozen=True, kw_only=True):
    """What the decisions before leave to the next one. began: since when nothing is missing. seen: when the last one was made.

    asked: counts that the load asked for, falling: the first is the most of the hold. counts: what was wanted in the last 15 s, and just
    before.
    """

    began: datetime
    seen: datetime
    asked: tuple[Mark, ...] = ()
    counts: tuple[Mark, ...] = ()


def desired_replicas(
    policy: Policy,
    load: LoadSample | None,
    supply: Supply,
    memory: Memory | None,
    now: datetime,
    held: int = 0,
    unheard: Unheard = ALL_HEARD,
) -> tuple[ScalingDecision, Memory]:
    """The count that is wanted now and why, and what the next decision must remember.

    load None: nothing has ever been heard. held: requests that gateways hold, where they said so later than load.
    """
    memory = _resumed(memory, supply, now)
    if load is not None and held > load.queued:
        load = msgspec.structs.replace(load, queued=held)
    blind = _blind(load, supply, now)
    if supply.count == 0 and (held or (load is not None and load.queued)):
        found = _woken(policy, load, held, blind)
    elif blind is not None or load is None:
        found = blind or Asked(count=supply.count, reason=R.NO_DATA, message="")
    else:
        found = _asked(policy, load, supply, now)
    # What runs may be needed as long as not everybody is heard, so that the hold begins when that is over.
    is_unseen = blind is not None or bool(unheard.silent)
    memory = _remembered(memory, max(found.count, supply.count) if is_unseen else found.count, policy, now)
    if blind is None:
        found = _limited(_not_lowered(_bounded(found, policy), supply, unheard), policy, supply, memory, now)
    found = _bounded(found, policy)
    more_above, fewer_below = edges(policy, found.count)
    decision = ScalingDecision(
        replicas=found.count,
        at=now,
        reason=found.reason,
        message=found.message + _without(unheard),
        before=supply.count,
        load=load,
        more_above=more_above,
        fewer_below=fewer_below,
        hold_s=policy.hold_s if fewer_below else 0.0,
    )
    return decision, memory


def differs(recorded: ScalingDecision | None, new: ScalingDecision) -> bool:
    """True when new says something that a reader of the recorded decision would not know: another count, or another reason to stay.

    At a bound it is slow to change its mind, so that a load at the edge is not written down every two seconds.
    """
    if recorded is None or recorded.replicas != new.replicas:
        return True
    if (recorded.more_above, recorded.fewer_below) != (new.more_above, new.fewer_below):
        return True
    before, after = recorded.reason, new.reason
    if (before is R.NO_DATA) != (after is R.NO_DATA):
        return True
    if before is R.MAXIMUM and after is not R.MAXIMUM:
        return new.load is not None and new.fewer_below is not None and new.load.stable < new.fewer_below
    return after is R.MAXIMUM and before is not R.MAXIMUM


def _resumed(memory: Memory | None, supply: Supply, now: datetime) -> Memory:
    """The memory brought up to now, or a new one."""
    if memory is None or not timedelta() <= now - memory.seen <= timedelta(seconds=GAP_S):
        return Memory(began=now, seen=now, counts=(Mark(at=now, count=supply.count),))
    counts = memory.counts
    if counts[-1].count != supply.count:
        counts = (*counts, Mark(at=now, count=supply.count))
    old = sum(mark.at <= now - timedelta(seconds=STEP_S) for mark in counts)
    return msgspec.structs.replace(memory, seen=now, counts=counts[max(0, old - 1) :])


def _remembered(memory: Memory, count: int, policy: Policy, now: datetime) -> Memory:
    """The memory with what is asked for now. Only what may still become the most of the hold is kept."""
    since = now - timedelta(seconds=policy.hold_s)
    kept = tuple(mark for mark in memory.asked if mark.at >= since and mark.count > count)
    return msgspec.structs.replace(memory, asked=(*kept, Mark(at=now, count=count)))


def _blind(load: LoadSample | None, supply: Supply, now: datetime) -> Asked | None:
    """What runs, where not enough is known to change it; None when enough is."""
    if load is None or not is_fresh(load.at, now):
        message = f"no gateway has told for {FRESH_S:.0f} s how much is under way, so the count stays"
        return Asked(count=supply.count, reason=R.NO_DATA, message=message)
    if now - load.since < timedelta(seconds=WINDOW_S):
        message = f"a gateway counts anew since less than {WINDOW_S:.0f} s, so the count stays"
        return Asked(count=supply.count, reason=R.HELD, message=message)
    return None


def is_fresh(at: datetime, now: datetime) -> bool:
    """True for what was told in the last FRESH_S. Of what was told later than now, by a clock that was set back since, nothing is known."""
    return timedelta() <= now - at <= timedelta(seconds=FRESH_S)


def _not_lowered(asked: Asked, supply: Supply, unheard: Unheard) -> Asked:
    """What is asked for, where it is more than runs or everybody was heard."""
    if not unheard.silent or asked.count > supply.count:
        return asked
    message = f"{_names(unheard.silent)} not told for {FRESH_S:.0f} s how much is under way there, so the count is not lowered"
    return Asked(count=supply.count, reason=R.NO_DATA, message=message)


def _without(unheard: Unheard) -> str:
    return f"; {_names(unheard.left_out)} been silent for so long that nothing there is counted" if unheard.left_out else ""


def _names(gateways: tuple[str, ...]) -> str:
    return f"gateway {gateways[0]} has" if len(gateways) == 1 else f"gateways {', '.join(gateways)} have"


def _woken(policy: Policy, load: LoadSample | None, held: int, blind: Asked | None) -> Asked:
    """From nothing: one at once, or as many as the load asks for where enough is known of it."""
    count = max(held, 0 if load is None else load.queued)
    asked = None if blind is not None or load is None else by_load(policy, load, 0)
    if asked is not None and asked.count > 1:
        return asked
    return Asked(count=1, reason=R.WOKEN, message=f"{count} {'request is' if count == 1 else 'requests are'} held and nothing runs")


def _asked(policy: Policy, load: LoadSample, supply: Supply, now: datetime) -> Asked:
    """What the load asks for, before anything limits it."""
    if supply.count == 0:
        return Asked(count=0, reason=R.IDLE, message="no request is held")
    if _is_idle(policy, load, supply, now):
        return Asked(count=0, reason=R.IDLE, message=f"no request for {policy.idle_s} s (idle_s)")
    asked = by_load(policy, load, supply.count)
    if asked.count == 0 and policy.least == 0:
        message = f"nothing is under way; the last replica goes after {policy.idle_s} s without a request (idle_s)"
        return Asked(count=1, reason=R.HELD, message=message)
    return msgspec.structs.replace(asked, count=max(1, asked.count))


def _is_idle(policy: Policy, load: LoadSample, supply: Supply, now: datetime) -> bool:
    """True when nothing was asked for in idle_s, and what answers has been there for as long."""
    there_s = policy.idle_s if supply.ready_since is None else (now - supply.ready_since).total_seconds()
    return policy.least == 0 and load.queued == 0 and min(load.idle_s, there_s) >= policy.idle_s


def _limited(asked: Asked, policy: Policy, supply: Supply, memory: Memory, now: datetime) -> Asked:
    """What is asked for, no faster than the count may go there."""
    if asked.count > supply.count:
        return _rising(asked, supply, memory)
    if asked.count < supply.count and supply.rolling:
        return _staying(asked, supply, R.ROLLOUT, "while a rollout moves the count is not lowered")
    if asked.count == supply.count or asked.reason is R.IDLE:
        return asked
    return _falling(asked, policy, supply, memory, now)


def _rising(asked: Asked, supply: Supply, memory: Memory) -> Asked:
    base = min(mark.count for mark in memory.counts)
    limit = max(supply.count, STEP_TIMES * base, base + STEP_PLUS)
    if asked.count <= limit:
        return asked
    message = f"{asked.message}; from {base} it goes to at most {limit} in {STEP_S:.0f} s"
    return Asked(count=limit, reason=R.STEP_LIMIT, message=message)


def _falling(asked: Asked, policy: Policy, supply: Supply, memory: Memory, now: datetime) -> Asked:
    peak, hold_s = memory.asked[0], policy.hold_s
    if peak.count >= supply.count:
        until = _clock(peak.at + timedelta(seconds=hold_s))
        return _staying(asked, supply, R.HELD, f"{peak.count} were asked for at {_clock(peak.at)}, which is kept until {until}")
    if memory.began > now - timedelta(seconds=hold_s):
        return _staying(
            asked, supply, R.HELD, f"what was asked for before {_clock(memory.began)} is not known; that is kept for {hold_s:.0f} s"
        )
    half = min(max(mark.count for mark in memory.counts) // 2, supply.count)
    if half > peak.count:
        return Asked(count=half, reason=R.STEP_LIMIT, message=f"{asked.message}; in {STEP_S:.0f} s it goes down by half at most")
    if peak.count > asked.count:
        return msgspec.structs.replace(
            asked, count=peak.count, message=f"no more than {peak.count} were asked for in the last {hold_s:.0f} s"
        )
    return asked


def _staying(asked: Asked, supply: Supply, reason: ScalingReason, why: str) -> Asked:
    return Asked(count=supply.count, reason=reason, message=f"{why}; now {asked.message}")


def _bounded(asked: Asked, policy: Policy) -> Asked:
    """The count within its bounds; what runs has at least one replica per version with traffic."""
    if asked.count > 0 and policy.least < policy.tracks and asked.count < policy.tracks:
        return Asked(
            count=policy.tracks, reason=asked.reason, message=f"{asked.message}; one for each of {policy.tracks} versions with traffic"
        )
    if asked.count < policy.least:
        reason = R.SCHEDULE if policy.schedules else R.MINIMUM
        return Asked(count=policy.least, reason=reason, message=f"{policy.words('min_replicas')}; {asked.message}")
    if asked.count > policy.most:
        reason = R.SCHEDULE if policy.schedules else R.MAXIMUM
        return Asked(count=policy.most, reason=reason, message=f"{policy.words('max_replicas')}; {asked.message}")
    return asked


def _clock(at: datetime) -> str:
    return f"{at:%H:%M:%S}"
