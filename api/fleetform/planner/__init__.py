"""WHAT SHOULD HAPPEN: pure functions over frozen structs; no I/O, no clock, no randomness of their own.

model.py      what goes into a plan and what comes out of it: the closed union of actions, Blocked
plan.py       `plan` for an endpoint: the order of the steps
version.py    `plan_version` for a model version
draft.py      a plan while it is being made
lifecycle.py  what a host says of a replica → its next phase
tracks.py     variants → tracks, and replicas shared out over them
rollout.py    weights by steps, failed starts, rollback, bake
gate.py       what a step of a rollout waits for, and what makes it fail
verdict.py    a new version's figures beside those of the one it replaces
history.py    what is told of a rollout
autoscale.py  how many replicas an endpoint should have by its load; demand.py what the load asks for
schedule.py   the bounds in force at a moment
count.py      how many replicas it asks for: the decision, within the bounds
scale.py      what is missing and what is too much
wear.py       which replicas are replaced though they serve
swap.py       old replicas make room for new ones
warmth.py     whose engine may sleep on its host, and which are not wanted any more
placing.py    new replicas: quota, and the reservation with everything decided
placement.py  which host and which devices: filters and ranks
commands.py   what is sent to hosts and written to rows
routes.py     what the gateways are told
phases.py     what a replica's row keeps of its start; starts.py how long starts take
status.py     conditions with reasons, the phase word
report.py     route, status, events, and when to look again
backoff.py    how long to wait before trying again
"""

from fleetform.planner.plan import plan
from fleetform.planner.version import plan_version

__all__ = ["plan", "plan_version"]
