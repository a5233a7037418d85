"""WHAT ENVOY IS TOLD: the snapshot (pure, checks itself), Envoy resources, the ADS server, the activator.

Everything that changes goes to Envoy by delta ADS; the listener and its routes are bootstrap and never change while it runs.

snapshot.py   routes and access; what becomes of an update
store.py      the snapshot on disk, and its followers
feed.py       takes updates, stores them, tells every Envoy; runs in the host worker
resources.py  one route as cluster and assignment
filters.py    trusted keys and revoked credentials as filters
delta.py      one Envoy's stream as a state machine, without I/O
ads.py        the gRPC server around it
bootstrap.py  Envoy's bootstrap and command line; chain.py, cel.py, routing.py,
              replies.py and accesslog.py are its parts
admin.py      in-flight counts from Envoy's admin socket; rotation.py bounds the access log
telemetry.py  what is measured here: sampler.py, timeline.py and served.py the load now, intake.py and windows.py how requests
              ended in the last hour, out of the access log
activator/    holds requests for endpoints without a replica, and answers /v1/models
waiting.py    what activators hold, told to the host worker; what is in force, told to them
"""
