"""Whether engines for devices are forked from this machine's zygote: one is tried, and others once it serves.

What a driver has left in the zygote shows only when a fork uses a device. What was learned holds for one zygote: the next one has
imported anew, perhaps other software, and is tried anew.
"""

import asyncio
from pathlib import Path

import msgspec

from fleetform.domain.base import Record
from fleetform.domain.replica import ProcessIdentity
from fleetform.host import records
from fleetform.host.threads import to_its_end


class Known(Record, frozen=True, kw_only=True):
    """What the forks of one zygote have shown on devices. served: one has. doubt: why none is forked for them any more."""

    zygote: ProcessIdentity
    served: bool = False
    doubt: str = ""


class Trust:
    """What is known, on disk at path. tried: the replica whose engine is the first to be forked for a device, until it serves or fails."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tried = ""
        self._known = _read(path)
        self._learning = asyncio.Lock()

    def refusal(self, zygote: ProcessIdentity, replica_id: str) -> str:
        """Why that replica's engine is not to be forked for a device now, or nothing; then it may be the one that is tried."""
        known = self._of(zygote)
        if known.doubt:
            return known.doubt
        if known.served:
            return ""
        if self.tried not in ("", replica_id):
            return "another engine is the first that is forked for a device here, and does not serve yet"
        self.tried = replica_id
        return ""

    def has_served(self, zygote: ProcessIdentity) -> bool:
        """True when a fork of that zygote has served on a device."""
        return self._of(zygote).served

    def leave(self, replica_id: str) -> None:
        """It serves, has failed, is started plainly or is stopped: no longer the one that is tried."""
        if self.tried == replica_id:
            self.tried = ""

    async def set_served(self, zygote: ProcessIdentity) -> None:
        """A fork of that zygote serves on a device; on disk when this returns. OSError."""
        await self._learn(zygote, served=True)

    async def set_doubt(self, zygote: ProcessIdentity, why: str) -> None:
        """Fork nothing of that zygote for devices any more; on disk when this returns. OSError."""
        await self._learn(zygote, doubt=why)

    def _of(self, zygote: ProcessIdentity) -> Known:
        return self._known if self._known is not None and self._known.zygote == zygote else Known(zygote=zygote)

    async def _learn(self, zygote: ProcessIdentity, **shown: bool | str) -> None:
        """One verdict after the other. That of a zygote which has a successor is late: nothing is forked from it any more."""
        async with self._learning:
            known = msgspec.structs.replace(self._of(zygote), **shown)
            if known == self._known or (self._known is not None and _is_older(zygote, self._known.zygote)):
                return
            await to_its_end(records.write, self.path, msgspec.json.encode(known))
            self._known = known


def _is_older(one: ProcessIdentity, other: ProcessIdentity) -> bool:
    return (one.boot_id, one.pid_namespace) == (other.boot_id, other.pid_namespace) and one.start_ticks < other.start_ticks


def _read(path: Path) -> Known | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Known)
    except (OSError, msgspec.DecodeError):
        return None
