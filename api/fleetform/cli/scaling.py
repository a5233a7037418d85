"""Why an endpoint has as many replicas as it has, and what would change that, in sentences."""

from collections.abc import Iterator

from fleetform.cli.output import age, span
from fleetform_sdk import types


def facts(endpoint: types.Endpoint) -> Iterator[tuple[str, object]]:
    """Names and sentences; none before the first replica was asked for."""
    decision, effective = endpoint.status.scaling, endpoint.status.effective
    if decision is None or effective is None:
        return
    yield "why so many", f"{_replicas(decision.replicas)} for {age(decision.at)}: {decision.message}"
    if decision.load is not None:
        load = decision.load
        yield "load then", f"{load.stable:.1f} over 60 s, {load.burst:.1f} over 6 s, {load.queued} held"
    yield "more when", _more(decision, effective)
    yield "fewer when", _fewer(decision, effective)
    for name, schedule in effective.schedule.items():
        yield f"schedule {name}", _schedule(schedule)


def _more(decision: types.ScalingDecision, effective: types.EffectiveEndpoint) -> str:
    if decision.more_above is None:
        names = [name for name, schedule in effective.schedule.items() if schedule.max_replicas == decision.replicas]
        by_schedule = decision.replicas < effective.max_replicas and names
        return f"{_ends(names) if by_schedule else 'max_replicas is raised'}: no load asks for more than that"
    if decision.more_above == 0:
        return "any request comes"
    return f"more than {decision.more_above:.1f} requests are under way or held, on average over 60 s or over 6 s"


def _fewer(decision: types.ScalingDecision, effective: types.EffectiveEndpoint) -> str:
    if decision.replicas == 0:
        return ""
    if decision.fewer_below is None:
        names = [name for name, schedule in effective.schedule.items() if schedule.min_replicas == decision.replicas]
        by_schedule = decision.replicas > effective.min_replicas and names
        return f"{_ends(names) if by_schedule else 'min_replicas is lowered'}: no load asks for fewer than that"
    if decision.fewer_below == 0:
        return f"no request comes for {span(effective.idle_s)} (idle_s)"
    return f"fewer than {decision.fewer_below:.1f} are under way or held for {span(int(decision.hold_s))}"


def _ends(schedules: list[str]) -> str:
    return f"schedule {' or '.join(schedules)} ends, or is changed"


def _schedule(schedule: types.EffectiveSchedule) -> str:
    bounds = [f"{name} {value}" for name, value in (("min", schedule.min_replicas), ("max", schedule.max_replicas)) if value is not None]
    return f"{', '.join(bounds)} for {span(schedule.duration_s)} from {schedule.cron} ({schedule.timezone})"


def _replicas(count: int) -> str:
    return "1 replica" if count == 1 else f"{count} replicas"
