"""The bounds of a replica count at a moment: the endpoint's own, or those of the schedules that are in force.

A schedule is in force for duration_s from each time that its cron names. Where several are in force at once, each bound is the
largest that any of them names; a bound that none of them names is the endpoint's own. When the two then contradict each other, the one
that a schedule names wins, and of two named ones the minimum.
"""

from datetime import datetime, timedelta

from fleetform.domain.base import Record
from fleetform.domain.effective import EffectiveEndpoint, EffectiveSchedule
from fleetform.domain.schedule import last_before, next_after


class CountBounds(Record, frozen=True, kw_only=True):
    """The least and the most replicas now. names: the schedules that are in force. next_at: when that may change; None: never."""

    least: int
    most: int
    names: tuple[str, ...] = ()
    next_at: datetime | None = None


def bounds_at(effective: EffectiveEndpoint, now: datetime) -> CountBounds:
    """The bounds in force at now."""
    if not effective.schedule:
        return CountBounds(least=effective.min_replicas, most=max(effective.min_replicas, effective.max_replicas))
    changes, names = [], []
    for name, schedule in sorted(effective.schedule.items()):
        ends_at = ends(schedule, now)
        if ends_at is not None:
            names.append(name)
        changes += [at for at in (ends_at, next_after(schedule.cron, schedule.timezone, now)) if at is not None]
    active = [effective.schedule[name] for name in names]
    least = max((s.min_replicas for s in active if s.min_replicas is not None), default=None)
    most = max((s.max_replicas for s in active if s.max_replicas is not None), default=None)
    if least is None:
        least = effective.min_replicas if most is None else min(effective.min_replicas, most)
    most = max(effective.max_replicas if most is None else most, least)
    return CountBounds(least=least, most=most, names=tuple(names), next_at=min(changes, default=None))


def ends(schedule: EffectiveSchedule, now: datetime) -> datetime | None:
    """When the schedule that is in force at now ends; None: it is not in force."""
    began_at = last_before(schedule.cron, schedule.timezone, now)
    if began_at is None:
        return None
    ends_at = began_at + timedelta(seconds=schedule.duration_s)
    return ends_at if now < ends_at else None
