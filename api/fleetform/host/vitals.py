"""What the kernel says of an engine's processes: whether they work, want to, or are stopped."""

import os
import time

from fleetform.domain.base import Record
from fleetform.host import processes
from fleetform.host.processes import Identity

MEMBERS_KEPT_S = 5.0
"""How long the list of a session's members is used before /proc is read through for it again."""
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_STOPPED = "T"
_RUNNABLE = "R"


class Vital(Record, frozen=True, kw_only=True):
    """cpu_s, runnable: of the members that do the work. stopped: pids, of all members."""

    cpu_s: float = 0.0
    runnable: bool = False
    stopped: tuple[int, ...] = ()


class Vitals:
    """Looks at sessions. Cheap between two readings of /proc: only the members that are known are looked at."""

    def __init__(self) -> None:
        self._members: dict[int, list[int]] = {}
        self._read_at = 0.0

    def look(self, leaders: list[tuple[Identity, bool]]) -> dict[int, Vital]:
        """Session → its vital signs, for the sessions of these leaders.

        The bool says that the leader only passes work on, so that its own processor time proves nothing as long as it has others.
        """
        self._read(leaders)
        return {leader.session_id: self._vital(leader, passes_on) for leader, passes_on in leaders}

    def _read(self, leaders: list[tuple[Identity, bool]]) -> None:
        wanted = {leader.session_id for leader, _ in leaders}
        if time.monotonic() - self._read_at < MEMBERS_KEPT_S and wanted <= self._members.keys():
            return
        self._members = {session: [] for session in wanted}
        self._read_at = time.monotonic()
        for stat in processes.all_stats():
            if stat.session_id in wanted:
                self._members[stat.session_id].append(stat.pid)

    def _vital(self, leader: Identity, passes_on: bool) -> Vital:
        found = [stat for pid in self._members[leader.session_id] if (stat := processes.read_stat(pid)) is not None]
        members = [stat for stat in found if stat.session_id == leader.session_id and stat.state not in "ZX"]
        others = [stat for stat in members if stat.pid != leader.pid]
        workers = others if passes_on and others else members
        return Vital(
            cpu_s=sum(stat.cpu_ticks for stat in workers) / _TICKS_PER_S,
            runnable=any(stat.state == _RUNNABLE for stat in workers),
            stopped=tuple(stat.pid for stat in members if stat.state == _STOPPED),
        )
