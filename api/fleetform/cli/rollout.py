"""How a rollout is shown: a row per step in a table, and one sentence while it goes."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

from fleetform.cli.output import age, span
from fleetform_sdk import types

HEADINGS = ("generation", "phase", "strategy", "age", "from", "to", "step", "weights", "verdict", "evidence")
VERDICTS = {"Running": "held", "Passed": "passed", "NotJudged": "not judged", "Failed": "FAILED"}


def rows(rollout: types.Rollout) -> Iterator[tuple[object, ...]]:
    """One row per step, oldest first; one row of a rollout that never came to a step."""
    head = (rollout.generation, rollout.phase, rollout.strategy, age(rollout.started_at), _split(rollout.old), _split(rollout.new))
    if not rollout.steps:
        yield (*head, "", "", rollout.reason, "; ".join(rollout.evidence))
    for step in rollout.steps:
        yield (*head, f"{step.percent}%", _split(step.weights), VERDICTS.get(str(step.outcome), step.outcome), "; ".join(step.evidence))


def sentence(endpoint: types.Endpoint, rollout: types.Rollout, now: datetime | None = None) -> str:
    """Where the rollout stands: its step and weights, how long the step is still held, and what it is judged by so far."""
    if not rollout.steps:
        waits = f"; requests are held for about {span(rollout.pause_s)}" if rollout.pause_s else ""
        return f"rollout {_split(rollout.old) or 'of the first version'} → {_split(rollout.new)} by {rollout.strategy}{waits}"
    step = rollout.steps[-1]
    parts = [f"step {step.percent}%: {_split(step.weights)}", _stand(endpoint, step, now or datetime.now(UTC))]
    return "; ".join([*parts, *step.evidence])


def _stand(endpoint: types.Endpoint, step: types.RolloutStep, now: datetime) -> str:
    if step.outcome != "Running":
        return VERDICTS.get(str(step.outcome), str(step.outcome))
    if not step.started_at or endpoint.status.effective is None:
        return "waits for the proxy"
    ends = step.started_at + timedelta(seconds=endpoint.status.effective.step_hold_s)
    return f"held {span(max(0, round((ends - now).total_seconds())))} more"


def _split(weights: Mapping[str, int]) -> str:
    return ",".join(f"{name}={weight}" for name, weight in sorted(weights.items()))
