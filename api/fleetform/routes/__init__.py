"""The control API: decode, authorize, store, encode. No rule that the store or the domain could hold stands here.

application.py    create_app and create_metrics_app
dependencies.py   what whoever starts it must give
authentication.py key → caller, by the rows
access.py         what each route needs, deny by default
problems.py       every refusal as problem+json
openapi.py        the document that clients are generated from
http.py           reading and writing bodies, entity tags, preconditions; bodies.py those that are no resource
parameters.py     query parameters that several routes share
options.py        OPTIONS
waiting.py        wait_for, woken by the store (waker.py)
live.py           what hosts measure now, beside the rows
measuring.py      the control API's own counts; inference_metrics.py those of inference
the rest          one controller per resource
"""
