"""WHEN AND HOW: what the planner decides is recorded and done, by one server at a time.

loop.py         claims the shard, and keeps what looks after it going; what wakes it
passes.py       load → plan → record → apply for one key; what each outcome means
endpoints.py    load, plan, record and apply for one endpoint
versions.py     the same for one model version
observing.py    facts of the database and what is in sight → what a plan is made from
differences.py  what a plan changes of what is recorded
sending.py      commands to hosts, and what their answers tell
sight.py        what hosts have reported, put together
comparison.py   how the versions of a rollout do, as the gateways count it
watch.py        asks every host what has changed
publisher.py    routes and access rules → snapshot updates, and what each gateway has in force
access.py       who may come in at the gateways
scaling.py      how many replicas each endpoint should have by its load, every two seconds, in memory
loads.py        what hosts and gateways have measured, put together
queue.py        what is to be looked at, and when
starts.py       how long starts took, kept up in memory
wearing.py      which replicas are worn, by what was measured
outcome.py      what one pass came to
deps.py         what all of it works with
"""

from fleetform.reconciler.loop import Reconciler

__all__ = ["Reconciler"]
