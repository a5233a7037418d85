"""What this machine says, for fleetcheck: host records, /proc, the stored snapshot, Envoy, log files."""

import json
import os
import re
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from fleetform.domain.protocol import HostReplicaState
from fleetform.fleetcheck.facts import HostRecord, LogLine, Machine, Session
from fleetform.gateway import admin
from fleetform.gateway.snapshot import EndpointRoute
from fleetform.gateway.store import SnapshotReader
from fleetform.host import processes, records
from fleetform.host.ending import MEMORY_BACK_WAIT_S
from fleetform.host.engines.base import mark
from fleetform.host.layout import Layout
from fleetform.host.logs import rotated
from fleetform.host.pool import sleeper
from fleetform.host.record import ReplicaRecord, load_all, utc_now
from fleetform.host.replica import KILL_AFTER_S
from fleetform.host.snapshots import image
from fleetform.redaction import LEAK_FORMS
from fleetform.settings import Settings

LOG_TAIL_BYTES = 16 << 20
"""How much of each log file's end is read."""
CLUSTERS_AT_ONCE = 100
TIDY_S = 10.0
"""What the host may take, beside its own waits, to write down that a replica has exited."""
_SCRATCH = re.compile(r"r-[0-9a-f]{12}\.d")
"""As `Layout.scratch` names it."""


async def read(settings: Settings, canaries: tuple[str, ...]) -> Machine | None:
    """None when no host worker has ever run in this home."""
    if not (settings.home / "host" / "devices.json").exists():
        return None
    layout = Layout(settings)
    found = tuple(load_all(layout))
    routes = _routes(settings)
    on_disk = frozenset(engine.engine_id for engine in image.load_all(layout.snapshots))
    asleep = frozenset(engine.engine_id for engine in sleeper.load_all(layout)) | on_disk
    known = {record.engine_id for record in found} | asleep
    holders = {record.engine_id: record.replica_id for record in found if record.state is not HostReplicaState.EXITED}
    return Machine(
        host=str((records.read_json(layout.devices) or {}).get("host", "")),
        records=tuple(
            HostRecord(
                replica_id=record.replica_id,
                engine_id=record.engine_id,
                state=record.state,
                devices=record.devices,
                alive=record.identity is not None and processes.alive(record.identity),
                ending=_is_ending(layout, record),
            )
            for record in found
        ),
        sessions=_sessions(layout, known, holders),
        asleep=asleep,
        routes=routes,
        envoy=await _envoy(settings, sorted(routes)),
        access_log=_access_log(settings.access_log),
        showing=tuple(_showing(settings, canaries)),
    )


def _is_ending(layout: Layout, record: ReplicaRecord) -> bool:
    """True for a replica that is being stopped, as long as the rest of its group and its devices' memory may take to be gone.

    That counts from its process's end, where the supervisor saw it, or else from the last moment at which it may have been drained.
    """
    if record.state is not HostReplicaState.STOPPING or record.drain_until is None:
        return False
    began_at = record.drain_until
    if record.identity is not None:
        note = records.read_json(layout.exits / f"{record.identity.pid}-{record.identity.start_ticks}.json") or {}
        if note.get("boot_id") == record.identity.boot_id:
            began_at = datetime.fromtimestamp(note["at"], UTC)
    return utc_now() < began_at + timedelta(seconds=KILL_AFTER_S + MEMORY_BACK_WAIT_S + TIDY_S)


def _routes(settings: Settings) -> dict[str, EndpointRoute]:
    reader = SnapshotReader(settings.home / "gateway")
    try:
        return reader.snapshot().routes
    finally:
        reader.close()


async def _envoy(settings: Settings, keys: list[str]) -> dict[str, frozenset[str]] | None:
    found: dict[str, frozenset[str]] = {}
    try:
        for first in range(0, max(1, len(keys)), CLUSTERS_AT_ONCE):
            clusters = await admin.in_flight(settings.envoy_admin_socket, keys[first : first + CLUSTERS_AT_ONCE])
            found |= {key: frozenset(addresses) for key, addresses in clusters.items()}
    except (OSError, TimeoutError):
        return None
    return found


def _sessions(layout: Layout, known: Iterable[str], holders: dict[str, str]) -> tuple[Session, ...]:
    """The sessions in which somebody carries the mark of an engine, by its working directory or by what it inherited.

    known: engine ids. holders: engine id → the replica that it is of now.
    """
    marks = {mark(layout.scratch(engine_id)): engine_id for engine_id in known}
    found: dict[tuple[str, int], list[int]] = defaultdict(list)
    parents: dict[int, int] = {}
    owners: dict[int, str] = {}
    for stat in processes.all_stats():
        owner = _owner(layout, marks, stat.pid) if stat.state not in "ZX" else None
        if owner is not None:
            owner = holders.get(owner, owner)
            owners[stat.pid], parents[stat.pid] = owner, stat.parent
            found[owner, stat.session_id].append(stat.pid)
    # A child that began a session of its own belongs to its parent's group, as long as the parent lives.
    roots = {key: pids for key, pids in found.items() if any(owners.get(parents[pid]) != key[0] for pid in pids)}
    return tuple(Session(replica_id=key[0], session_id=key[1], pids=tuple(sorted(pids))) for key, pids in sorted(roots.items()))


def _owner(layout: Layout, marks: dict[str, str], pid: int) -> str | None:
    """The engine that pid belongs to, empty for one that is not known any more; None: it is not of this home."""
    process = Path(f"/proc/{pid}")
    try:
        cwd = str((process / "cwd").readlink())
        environment = (process / "environ").read_bytes().split(b"\0")
    except OSError:
        return None
    # An engine's folder goes with it: whoever lives on in it then is an orphan.
    directory = Path(cwd.removesuffix(" (deleted)"))
    if directory.parent == layout.replicas and directory.suffix == ".d":
        return directory.stem
    for text in (entry.decode(errors="replace") for entry in environment if entry.startswith(b"TMPDIR=")):
        if text in marks:
            return marks[text]
        scratch = Path(text.removeprefix("TMPDIR="))
        if scratch.parent == layout.run and _SCRATCH.fullmatch(scratch.name):
            return ""
    return None


def _access_log(path: Path) -> tuple[LogLine, ...]:
    found = []
    for line in _tail(path):
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # cut by a crash, or the first of what is read
        if not isinstance(entry, dict):
            continue
        found.append(LogLine(request_id=str(entry.get("request_id") or ""), answered=isinstance(entry.get("status"), int)))
    return tuple(found)


def _showing(settings: Settings, canaries: tuple[str, ...]) -> list[str]:
    """Lines of our own logs, such as `server.log:-17`, counted from the end.

    Engines write theirs themselves; those are redacted whenever they are shown.
    """
    secret = re.compile("|".join([LEAK_FORMS, *map(re.escape, canaries)]))
    found = []
    for path in (each for log in sorted((settings.home / "logs").glob("*.log")) for each in (rotated(log), log)):
        found += [f"{path.name}:-{back}" for back, line in enumerate(reversed(_tail(path)), start=1) if secret.search(line)]
    return found


def _tail(path: Path) -> list[str]:
    """The whole lines at the end of a file, at most LOG_TAIL_BYTES of them; none when it does not exist."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - LOG_TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
    return lines[1:] if size > LOG_TAIL_BYTES else lines
