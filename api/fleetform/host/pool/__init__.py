"""THE WARM POOL: engines that sleep until the same is asked for again.

control.py   inside the engine: asleep and awake, for the host alone
asking.py    the host asks an engine to
sleeper.py   the record of an engine that sleeps, and what it must have in common with a start that wakes it
room.py      how much of a device sleeping engines may keep
evicting.py  the end of one
pool.py      which sleep, which are woken, which are ended
"""
