"""Fleetform: GPU hosts become OpenAI-compatible endpoints that are declared in Terraform.

A package imports only the ones below it:

cli         what people type
app         the one place where the server's parts are wired
routes      the control API            reconciler  when and how the wish is made true
planner     what should happen         store       who touches the database
drivers     where machines are         host        what runs on a machine
gateway     what Envoy is told
domain      what things are
errors, settings; credentials (API keys), logs, redaction, steps (points at which a program can be made to die)

Beside them fleetcheck: does what is recorded, what runs and what is routed agree?
"""

__version__ = "0.1.0"
