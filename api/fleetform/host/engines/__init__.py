"""HOW AN ENGINE IS STARTED: adapters that turn a replica into a command line and an environment.

base.py     what an adapter is given and what it answers; the environment every engine starts from
vllm.py     vLLM, in full
compiled.py what it compiles, kept between starts
command.py  an engine that the region's administrators declared
"""

from fleetform.domain.rollout import Track
from fleetform.host.engines.base import Adapter
from fleetform.host.engines.command import CommandEngine
from fleetform.host.engines.vllm import Vllm


def adapter_for(track: Track) -> Adapter:
    """The adapter of a track's engine: its declared command if it has one, else vLLM."""
    return Vllm() if track.command is None else CommandEngine(track.command)
