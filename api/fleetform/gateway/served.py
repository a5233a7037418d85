"""How many requests each replica has had, counted on over restarts of the proxy and of the worker.

The proxy counts from its own start, and forgets a replica that is taken out of its route. So a count is what was carried over from
proxies before, and what the present one says. It is kept in a file, some seconds late: a worker that is killed together with its proxy
loses what came in these seconds, and a proxy that was started anew while no worker ran is noticed only once a count has fallen.
"""

import contextlib
import os
from collections.abc import Collection
from pathlib import Path

import msgspec

_COUNTS = msgspec.json.Decoder(dict[str, tuple[int, int]])


class Served:
    """Replica → requests begun there. file: where it is kept; what cannot be read in it counts as nothing."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._carried: dict[str, int] = {}
        self._seen: dict[str, int] = {}
        self._changed = False
        with contextlib.suppress(OSError, msgspec.DecodeError):
            for replica_id, (carried, seen) in _COUNTS.decode(file.read_bytes()).items():
                self._carried[replica_id], self._seen[replica_id] = carried, seen

    def see(self, replica_id: str, total: int) -> bool:
        """Take what the proxy counts for a replica; whether that has grown or begun anew."""
        seen = self._seen.get(replica_id, 0)
        if total == seen:
            return False
        if total < seen:
            self._carried[replica_id] = self._carried.get(replica_id, 0) + seen
        self._seen[replica_id] = total
        self._changed = True
        return True

    def restarted(self) -> None:
        """The proxy was started anew: all its counts begin at 0."""
        for replica_id, seen in self._seen.items():
            self._carried[replica_id] = self._carried.get(replica_id, 0) + seen
        self._seen.clear()
        self._changed = True

    def total(self, replica_id: str) -> int:
        return self._carried.get(replica_id, 0) + self._seen.get(replica_id, 0)

    def save(self, known: Collection[str]) -> None:
        """Write what has changed, of replicas that are known; the others are forgotten. OSError when it cannot be written."""
        gone = (self._carried.keys() | self._seen.keys()) - set(known)
        for replica_id in gone:
            self._carried.pop(replica_id, None)
            self._seen.pop(replica_id, None)
        if not self._changed and not gone:
            return
        everyone = self._carried.keys() | self._seen.keys()
        counts = {replica_id: (self._carried.get(replica_id, 0), self._seen.get(replica_id, 0)) for replica_id in sorted(everyone)}
        temporary = self._file.with_suffix(f".{os.getpid()}")
        temporary.write_bytes(msgspec.json.encode(counts))
        temporary.replace(self._file)
        self._changed = False
