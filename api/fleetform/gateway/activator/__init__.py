"""The activator: holds requests for declared endpoints that have no replica to answer, and lists the models of a project.

Envoy reaches it on a Unix socket, with the caller already known: x-ff-project, x-ff-scopes and x-ff-endpoint are Envoy's words, never
the client's. It reads the stored snapshot and needs neither worker nor server. It never carries an answer: once a replica is there, it
sends the request back with x-ff-bounce, and Envoy, which has kept the body, brings it to the replica itself.

app.py      one request: what is answered at once, what is held
line.py     how many may wait: by count, by bytes, and fair between projects
hold.py     those that wait, and what ends their wait
tries.py    how often one request has come here, and how often replicas have failed it
link.py     the connection to the host worker: what waits goes there, what is in force comes back
answers.py  what is said, and models.py the lists of models
serving.py  the program
"""

from fleetform.gateway.activator.answers import HOPELESS_RETRY_AFTER_S
from fleetform.gateway.activator.serving import main, serve

__all__ = ["HOPELESS_RETRY_AFTER_S", "main", "serve"]
