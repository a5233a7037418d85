"""What an engine adapter is given, and what it answers."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from fleetform.domain.base import Record
from fleetform.domain.replica import Address
from fleetform.domain.rollout import Track

SHUTDOWN_TIMEOUT_S = 10
"""How long an engine may finish what it has after SIGTERM. A net: the proxy has let it run empty before."""

_INHERITED = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "LD_PRELOAD", "CUDA_HOME", "NVIDIA_VISIBLE_DEVICES")


class Launch(Record, frozen=True, kw_only=True):
    """One engine to be started. model_dir: verified files. devices: full UUIDs, none for a CPU replica.

    scratch: a short directory for its temporary files and inner sockets, gone with the replica. cache: what engines may keep between
    starts. compiled: the part of it for kernels of this model on this device. cpu_threads: its share of this machine's cores.
    sleeps: it may be put to sleep later, which an engine must know when it takes its memory.
    """

    served_name: str
    nonce: str
    track: Track
    model_dir: Path
    address: Address
    devices: tuple[str, ...]
    scratch: Path
    cache: Path
    compiled: Path
    cpu_threads: int
    start_timeout_s: int
    sleeps: bool = False

    @property
    def instance(self) -> str:
        """The model id by which this very replica is told from every other."""
        return f"ff-{self.nonce}"


class Adapter(Protocol):
    """How one kind of engine is started and asked.

    health_path answers 200 when it is ready. speaks_openai: it lists its models and answers a canary. on_port: it cannot listen on
    a socket and is given a loopback port. forks: the zygote of this machine may fork it; argv is then `python -m module …`.
    sleeps: on a device it can be put to sleep and woken (host/pool).
    """

    @property
    def health_path(self) -> str: ...

    @property
    def speaks_openai(self) -> bool: ...

    @property
    def on_port(self) -> bool: ...

    @property
    def forks(self) -> bool: ...

    @property
    def sleeps(self) -> bool: ...

    def argv(self, launch: Launch) -> tuple[str, ...]:
        """The command line."""
        ...

    def env(self, launch: Launch) -> dict[str, str]:
        """What the engine's environment has beyond `clean_environment`."""
        ...


def mark(scratch: Path) -> str:
    """The variable by which every descendant of an engine is known, whatever session it went to: no other engine has that folder."""
    return f"TMPDIR={scratch}"


def clean_environment(launch: Launch, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment every engine starts from: nothing of ours but where programs and libraries are.

    No token, no cloud credential and no proxy passes; HOME is the engines' own, so that none is found in a file there either.
    """
    env = standing_environment(launch.cache, environ)
    env |= {
        "TMPDIR": str(launch.scratch),
        "OMP_NUM_THREADS": str(launch.cpu_threads),
        "CUDA_VISIBLE_DEVICES": ",".join(launch.devices),
    }
    return env


def standing_environment(cache: Path, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The part of `clean_environment` that is the same for every engine of a machine, and so for the zygote."""
    env = {name: environ[name] for name in _INHERITED if name in environ}
    env |= {
        "HOME": str(cache),
        "XDG_CACHE_HOME": str(cache),
        "NO_COLOR": "1",
        "PYTHONUNBUFFERED": "1",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    }
    return env
