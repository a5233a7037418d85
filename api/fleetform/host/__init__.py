"""WHAT RUNS ON A MACHINE: supervisor, worker, device ledger, artifact cache, engine adapters. Started detached; outlives the server."""
