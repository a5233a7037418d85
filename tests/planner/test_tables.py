"""The tables that people are shown as diagrams hold for whatever happens."""

from datetime import datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from fleetform.domain.rollout import ROLLOUT_PHASES, STEP_OUTCOMES, Rollout, RolloutPhase, StepOutcome
from tests.planner.test_plan_properties import EVENTS, happen, worlds
from tests.planner.world import World


@settings(max_examples=60, deadline=None)
@given(world=worlds(), data=st.data())
def test_a_rollout_and_its_steps_move_as_their_tables_say(world: World, data: st.DataObject) -> None:
    seen: dict[tuple[int, datetime], Rollout] = {}
    for event in data.draw(st.lists(EVENTS, max_size=12)):
        happen(world, event, data)
        for _ in range(3):
            if world.buried:
                return
            world.step()
            if world.rollout is not None and world.rollout.record is not None:
                record = world.rollout.record
                _follows(seen.get((record.generation, record.started_at)), record)
                seen[record.generation, record.started_at] = record


def _follows(before: Rollout | None, after: Rollout) -> None:
    """after may come of before, in any number of moves along the tables."""
    assert all(step.outcome is not StepOutcome.RUNNING for step in after.steps[:-1]), "only the last step may be undecided"
    if after.phase is not RolloutPhase.RUNNING:
        assert all(step.outcome is not StepOutcome.RUNNING for step in after.steps)
    if before is None:
        return
    assert after.phase is before.phase or after.phase in ROLLOUT_PHASES[before.phase]
    for old, new in zip(before.steps, after.steps, strict=False):
        assert new.outcome is old.outcome or new.outcome in STEP_OUTCOMES[old.outcome]
    assert len(after.steps) >= len(before.steps)
