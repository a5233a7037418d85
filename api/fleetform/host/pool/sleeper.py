"""The record of an engine that sleeps, and what it must have in common with a start that wakes it.

As long as the record is on disk the engine sleeps: it is written once the engine has fallen asleep, and removed before it is asked to wake.
"""

import hashlib
from collections.abc import Iterator, Mapping
from datetime import datetime
from importlib import metadata
from pathlib import Path

import msgspec
import structlog

from fleetform.domain.base import Record
from fleetform.domain.protocol import SleepingEngine, StartReplica, sleeping_engine
from fleetform.domain.replica import Address, ProcessIdentity, Unix
from fleetform.host import records
from fleetform.host.engines.base import Adapter, Launch, clean_environment
from fleetform.host.layout import Layout
from fleetform.host.processes import Identity

SOFTWARE = ("vllm", "torch", "transformers", "fleetform")

log = structlog.get_logger(__name__)


class Sleeper(Record, frozen=True, kw_only=True):
    """engine_id: the replica that launched it, under whose id it has its directories, its socket and its log. start: what it served last.

    nonce: of its launch, which it answers to. memory_mib: of the host. residue_mib: device → what it keeps there. ending: it is being
    ended, and never woken again. freezes: it may be put on disk, once it is awake.
    """

    engine_id: str
    fingerprint: str
    start: StartReplica
    nonce: str
    address: Address
    process: ProcessIdentity
    since: datetime
    memory_mib: int
    residue_mib: dict[str, int]
    ending: bool = False
    freezes: bool = False

    @property
    def identity(self) -> Identity:
        """The leader of its process group."""
        return Identity(**msgspec.structs.asdict(self.process))

    def shown(self) -> SleepingEngine:
        """As the report shows it."""
        return sleeping_engine(self.engine_id, self.start, self.since, memory_mib=self.memory_mib)


def fingerprint(start: StartReplica, adapter: Adapter, environ: Mapping[str, str] | None = None) -> str:
    """All that makes an engine of start what it is, as one word: an engine is woken for a start of the very same word and for no other.

    Its endpoint, everything of its track, its devices, its arguments and environment with the places left out, and the software that is
    installed. Empty where an engine of start cannot be kept: of a kind that does not sleep, of a server that does not tell one endpoint
    from another of the same name.
    """
    devices = tuple(device for member in start.members for device in member.devices)
    if not (adapter.sleeps and start.endpoint_uid):
        return ""
    launch = Launch(
        served_name=start.served_name,
        nonce="",
        track=start.track,
        model_dir=Path("/model"),
        address=Unix(path="/socket"),
        devices=devices,
        scratch=Path("/scratch"),
        cache=Path("/cache"),
        compiled=Path("/compiled"),
        cpu_threads=0,
        start_timeout_s=0,
        sleeps=bool(devices),
    )
    env = (clean_environment(launch) if environ is None else clean_environment(launch, environ)) | adapter.env(launch)
    whose = (start.project, start.endpoint, start.endpoint_uid, start.served_name, start.prefixes)
    content = (whose, start.track, devices, adapter.argv(launch), env, _software())
    return hashlib.sha256(msgspec.json.encode(content, order="deterministic")).hexdigest()


def save(layout: Layout, sleeper: Sleeper) -> None:
    """Write sleeper; on disk when this returns."""
    records.write(layout.sleeper(sleeper.engine_id), msgspec.json.encode(sleeper))


def load_all(layout: Layout) -> Iterator[Sleeper]:
    """Every engine that sleeps here. A record that cannot be read, or bears another's name, is left there and named in the log.

    What it tells of may run.
    """
    for path in sorted(layout.sleepers.glob("*.json")):
        try:
            found = msgspec.json.decode(path.read_bytes(), type=Sleeper)
        except (OSError, msgspec.DecodeError) as error:
            log.error("record_unreadable", path=str(path), error=str(error))
            continue
        if path.stem == found.engine_id:
            yield found
        else:
            log.error("record_misplaced", path=str(path), engine=found.engine_id)


def _software() -> dict[str, str]:
    found = {}
    for name in SOFTWARE:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
