"""WHO TOUCHES THE DATABASE: Piccolo tables, migrations, transaction(), queries that turn rows into structs and back.

database.py    the pool, transaction(), notify and listen, JSONB text
tables.py      the tables; migrations/ makes them
changes.py     what listeners are told
specs.py, writing.py   what the resources share: rows with a spec; preconditions, outcomes, pages
projects.py bindings.py machines.py models.py endpoints.py quotas.py tokens.py credentials.py   the client's side, one resource each
references.py  what an endpoint's spec refers to
events.py replicas.py rollouts.py  what is read by people
fleet.py hosts.py lease.py recording.py starts.py pruning.py   the reconciler's side
counting.py checking.py  what metrics and fleetcheck ask
bootstrap.py   what a region has from its first start
"""
