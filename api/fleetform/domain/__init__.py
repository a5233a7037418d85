"""WHAT things are: resource specs and status, names, conditions, replicas and their transitions, hosts, the host protocol.

Frozen structs only. Nothing here does I/O or reads a clock; `now`, ids and randomness are passed in. Everything above imports
this package and speaks its words.

base.py           the struct bases: Record (ours), Request (the client's); value_or for what the client left out
names.py          the rule for names, model references, principals
decode.py         JSON value → Request struct, collecting every wrong field with its pointer
access.py         roles, principals, what a role includes
project.py        project, role binding, quota, token, credential
machine.py        instance type, engine, device, host capacity, placement shape
model.py          model version, artifact manifest
endpoint_spec.py  what a client sends of an endpoint, and the rules it must keep
engine_args.py    which engine arguments a tenant may set
schedule.py       the times that a schedule's cron expression names
effective.py      the same with every default filled in
endpoint.py       endpoint, its status, what serves now, what was turned back
conditions.py     condition types and their reasons
replica.py        replica, address, phases and the one transition table
desired.py        what is wanted, as the planner takes it from the rows
rollout.py        tracks and the state of a rollout
load.py           what gateways and hosts measure
scaling.py        how many replicas the load asks for, and why
events.py         one line about one resource, for people
protocol.py       messages between server and host process
"""
