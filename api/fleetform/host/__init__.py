"""WHAT RUNS ON A MACHINE: started detached, outlives the server, remembers what runs. Imports neither the store nor the planner.

The root process, with the standard library alone:
supervisor.py      starts the programs of a machine, restarts them, collects every exit status, adopts them after its own death
children.py        one such program: its file, its process, its back-off
processes.py       processes by identity; signals by pidfd; whole groups
launcher.py, gate.py   no process runs before its record is on disk
zygote/            a process that has imported an engine's software, and forks engines
notes.py           how processes ended
records.py, logs.py    durable files and locks; bounded logs
undying.py         a program that outlives its parent although it asks the kernel not to
unprivileged.py, postgres.py, postmaster.py   the embedded PostgreSQL

The worker, behind the host protocol (domain/protocol.py):
worker.py          wires the parts
api.py             the protocol over HTTP on a Unix socket
commands.py, fence.py  epochs, command ids, what each command did
board.py           what the host knows, numbered for its readers
replicas.py, replica.py, recorded.py   replicas, the life of each, its record on disk and on the board
fetching.py, starting.py, losing.py, ending.py   the steps of a life; failing.py says why one fails
forking.py         an engine that is forked, and started plainly when it cannot be, or does not come to serve
waking.py, pool/   engines that sleep, and who wakes them
parts.py           what all replicas share
record.py, exits.py, oom.py, probe.py  a replica's record, its end, the evidence for its end, the proof that it serves
organs.py          the processes without which an engine cannot answer
healing.py         ends what hangs: liveness.py judges, by what vitals.py and the engine say
prefetches.py      artifacts fetched before anybody needs them
verifications.py, fit.py   artifacts being verified; whether the software here is what a version was made for
ledger.py          cores, memory, devices
guard.py           restarts a dead supervisor
layout.py, threads.py   where things are; work that cannot be stopped half-way
engines/           how an engine is started
artifacts/         where weights come from
middleware.py, statistics.py   inside the engine: the time limit of a request, what is counted of its stream, its death
farewells/         the last event of a stream whose engine dies: deposited inside the engine, said by the worker
engine_watch.py    asks engines how they do; engine_metrics.py and memory.py read it
"""
