"""fleetcheck: does what is recorded, what runs and what is routed agree? For operators, and after every fault run of the tests.

facts.py    what is looked at, as frozen structs
checks.py   the invariants I1 to I8, pure
rows.py     what the database says
machine.py  what the host records, /proc, the stored snapshot, Envoy and the log files of this machine say
look.py     all of it together, and again until what was only on its way has arrived
"""
