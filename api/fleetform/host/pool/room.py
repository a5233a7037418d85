"""How much of a device sleeping engines may keep.

What sleeps gives back its weights and its cache, but not its CUDA context and its graphs: about a GiB stays. Whoever starts beside it takes
the share of the whole device that its `gpu_memory_utilization` says, and refuses to start when less than that is free. So what stays
must find room in the rest, which an engine itself exceeds a little.
"""

from collections.abc import Mapping

from fleetform.domain.rollout import Track
from fleetform.host.engines import adapter_for

UTILIZATION = 0.92
"""What vLLM takes of a device unless it is told otherwise (config/cache.py)."""
SHARE = 0.75
"""The part of the rest that sleeping engines may have."""


def by_default(total_mib: int) -> int:
    """MiB that may stay on a device of total_mib for any engine that is started as it is by default."""
    return _rest(total_mib, UTILIZATION)


def beside(track: Track, total_mib: int) -> int:
    """MiB that may stay on a device of total_mib when an engine of track is started there; 0 where nobody knows what it takes."""
    args: Mapping[str, str] = track.engine_args
    if not adapter_for(track).sleeps or "kv_cache_memory_bytes" in args:
        return 0
    return _rest(total_mib, float(args.get("gpu_memory_utilization", UTILIZATION)))


def _rest(total_mib: int, utilization: float) -> int:
    return int(total_mib * (1 - utilization) * SHARE)
