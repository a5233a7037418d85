"""A host worker for which the stub is an engine that can sleep. What vLLM does on a real device is tried in tests/gpu."""

from fleetform.host import worker
from fleetform.host.engines.command import CommandEngine

CommandEngine.sleeps = True

if __name__ == "__main__":
    worker.main()
