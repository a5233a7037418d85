"""WHAT PEOPLE TYPE: client verbs on the SDK; up, down, status, server and host start the programs."""
