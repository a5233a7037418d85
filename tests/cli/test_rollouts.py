"""How rollouts are shown: the list of them, and one while it goes."""

from datetime import UTC, datetime, timedelta

import msgspec

from fleetform.cli import rollout
from fleetform.cli.progress import Progress
from fleetform.domain.conditions import ConditionType, Reason
from fleetform.domain.endpoint import Rejected
from fleetform.domain.rollout import RolloutPhase, RolloutStep, StepOutcome
from fleetform_sdk import types
from tests.cli.conftest import Shell
from tests.sdk import bodies

PATH = "/v1/projects/acme/endpoints/prod"
WORSE = ("v1.5: errors: 14 of 30 requests (46.7%), the incumbent 1 of 280 requests (0.4%)",)
SHIFTING = (ConditionType.PROGRESSING, True, Reason.SHIFTING_TRAFFIC, "")
ROLLED_BACK = (ConditionType.READY, False, Reason.ROLLED_BACK, "generation 2 was rolled back: TooManyErrors")


def step(outcome: StepOutcome, percent: int = 10, evidence: tuple[str, ...] = (), started: bool = True) -> RolloutStep:
    weights = {"v1.4": 100 - percent, "v1.5": percent}
    return RolloutStep(
        percent=percent, weights=weights, outcome=outcome, started_at=bodies.AT if started else None, ended_at=None, evidence=evidence
    )


def test_the_list_has_a_line_per_step_with_its_verdict_and_figures(shell: Shell) -> None:
    failed = bodies.rollout(
        step(StepOutcome.PASSED),
        step(StepOutcome.FAILED, 50, WORSE),
        phase=RolloutPhase.ROLLED_BACK,
        reason="TooManyErrors",
    )
    shell.api.on("GET", f"{PATH}/rollouts", (200, bodies.page(failed)))
    lines = [line.split("\t") for line in shell("endpoint", "rollouts", "prod").stdout.splitlines()]
    assert [line[:3] + line[4:9] for line in lines] == [
        ["2", "RolledBack", "surge", "v1.4=100", "v1.5=100", "10%", "v1.4=90,v1.5=10", "passed"],
        ["2", "RolledBack", "surge", "v1.4=100", "v1.5=100", "50%", "v1.4=50,v1.5=50", "FAILED"],
    ]
    assert lines[1][9] == WORSE[0]


def test_a_rollout_that_never_came_to_a_step_has_a_line_too(shell: Shell) -> None:
    shell.api.on("GET", f"{PATH}/rollouts", (200, bodies.page(bodies.rollout())))
    (line,) = shell("endpoint", "rollouts", "prod").stdout.splitlines()
    assert line.split("\t")[:3] == ["2", "Running", "surge"]


def test_a_rollout_is_seen_while_it_goes_and_its_failure_carries_the_evidence(shell: Shell) -> None:
    split = {"v1.5": 100}
    moving = bodies.endpoint(split, generation=2, live={"v1.4": 100}, conditions=(SHIFTING,))
    rejected = Rejected(generation=2, reason="TooManyErrors", evidence=WORSE)
    over = bodies.endpoint(split, generation=2, live={"v1.4": 100}, conditions=(ROLLED_BACK,), rejected=rejected, revision=2)
    shell.api.on("GET", PATH, *[(200, moving)] * 4, (200, over))
    turned_back = bodies.rollout(step(StepOutcome.FAILED, evidence=WORSE), phase=RolloutPhase.ROLLED_BACK, reason="TooManyErrors")
    shell.api.on(
        "GET",
        f"{PATH}/rollouts",
        (200, bodies.page(bodies.rollout(step(StepOutcome.RUNNING, started=False)))),
        (200, bodies.page(bodies.rollout(step(StepOutcome.RUNNING)))),
        (200, bodies.page(bodies.rollout(step(StepOutcome.RUNNING, evidence=WORSE)))),
        (200, bodies.page(turned_back)),
    )
    stderr = shell("endpoint", "wait", "prod", status=1).stderr
    told = [line.partition("s  ")[2] for line in stderr.splitlines() if "step 10%" in line]
    assert told[0] == "step 10%: v1.4=90,v1.5=10; waits for the proxy"
    assert told[1].startswith("step 10%: v1.4=90,v1.5=10; held ")
    assert told[2] == f"step 10%: v1.4=90,v1.5=10; FAILED; {WORSE[0]}"
    assert len(told) == 3, "new figures of a held step are no line of their own"
    assert "RolledBack" in stderr
    assert WORSE[0] in stderr.partition("did not become ready")[2]


def test_what_is_left_of_a_hold_is_counted_from_the_clock() -> None:
    endpoint = msgspec.convert(bodies.endpoint({"v1.5": 100}), types.Endpoint)
    found = msgspec.convert(bodies.rollout(step(StepOutcome.RUNNING)), types.Rollout)
    now = bodies.AT.replace(tzinfo=UTC) + timedelta(seconds=18)
    assert rollout.sentence(endpoint, found, now) == "step 10%: v1.4=90,v1.5=10; held 42s more"
    assert rollout.sentence(endpoint, found, datetime(2027, 1, 1, tzinfo=UTC)).endswith("held 0s more")


def test_a_step_is_told_once_with_what_else_is_known() -> None:
    moving = (ConditionType.PROGRESSING, True, Reason.SHIFTING_TRAFFIC, "step 10 % of 10, 100: v1.4=90, v1.5=10, held until 12:01:00 UTC")
    endpoint = msgspec.convert(bodies.endpoint({"v1.5": 100}, conditions=(moving,), replicas=(2, 2)), types.Endpoint)
    said: list[str] = []
    progress = Progress(said.append)
    progress.rollout(endpoint, msgspec.convert(bodies.rollout(step(StepOutcome.RUNNING, started=False)), types.Rollout))
    progress(endpoint)
    progress(endpoint)
    assert said == ["step 10%: v1.4=90,v1.5=10; waits for the proxy", "Progressing; 2/2 replicas ready"]
    assert progress.sentence() == "Progressing; 2/2 replicas ready; step 10%: v1.4=90,v1.5=10; waits for the proxy"


def test_a_server_that_keeps_no_rollouts_is_waited_for_as_before(shell: Shell) -> None:
    shell.api.on("GET", PATH, (200, bodies.endpoint()))
    assert shell("endpoint", "wait", "prod").stdout == "endpoint prod is ready\n"
