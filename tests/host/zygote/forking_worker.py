"""A host worker for which the stub is an engine that is forked."""

from fleetform.host import worker
from fleetform.host.engines.command import CommandEngine

CommandEngine.forks = True

if __name__ == "__main__":
    worker.main()
