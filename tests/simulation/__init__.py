"""A seeded simulation of the reconciler: its real code over pretended machines, a database in memory and a clock that is moved by hand.

Every call to the database, a host or a gateway is a point at which a seed decides what happens next: it is answered, lost, answered
after its effect, delivered late or twice; the server dies there, or is stopped while another one takes over. Between the points hosts
vanish and come back, engines crash, run out of memory or hang, gateways go deaf or return with an old disk, and users change their
minds. What must never be is checked after every event; then everything heals, and every endpoint must arrive where it can.

    python -m tests.simulation SEED [HOW MANY]     what happened, line by line, and what was broken

points.py    the points, and how a call ends there
memory.py    the database: what store/fleet.py and store/recording.py promise, transactions and all
machines.py  hosts, engines and the gateway; what must never happen there
servers.py   a server: the loop's own parts, woken as it wakes them
world.py     everything there is, how time passes in it, and what must always hold
chance.py    what can happen, and how often
healing.py   the healing, and where everything must have arrived then
seeds.py     one seed, from its first event to its end
"""
