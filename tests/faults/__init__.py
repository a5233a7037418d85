"""One test per row of the fault table: file and test are named after the row, and a full run prints how many rows are covered and green.

Real parts: Envoy, PostgreSQL, a whole stack, engines that misbehave on purpose. What takes long is marked `faults` and runs in
`make test-faults`; the rest runs in `make test`.
"""
