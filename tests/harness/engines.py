"""What tests of faults need to know of a stack: its engines' processes by the host's word, and what its Envoy holds of them."""

from typing import NamedTuple

import httpx2
import msgspec

from fleetform import settings as fleetform_settings
from fleetform.domain.protocol import HostReplicaState, HostReport
from fleetform.domain.replica import Unix
from fleetform.host import processes
from fleetform.host.processes import Identity
from tests.harness.stack import Stack

OUT = "/failed_eds_health"
"""Envoy's word for a host that the feed has marked unhealthy."""

HEALTHY = "healthy"


class Engine(NamedTuple):
    """One serving engine. socket: where Envoy finds it. members: all of its processes, the leader first."""

    replica_id: str
    socket: str
    members: tuple[Identity, ...]


class Looker:
    """Looks at a stack's host and Envoy over their sockets, as fast as they answer. project: whose endpoints these are."""

    def __init__(self, stack: Stack, project: str) -> None:
        self.settings = fleetform_settings.load(stack.variables)
        self.project = project
        self._host = httpx2.Client(transport=httpx2.HTTPTransport(uds=str(self.settings.host_socket)), base_url="http://host", timeout=10)
        admin = httpx2.HTTPTransport(uds=str(self.settings.envoy_admin_socket))
        self._envoy = httpx2.Client(transport=admin, base_url="http://envoy", timeout=10)

    def engines(self, endpoint: str) -> list[Engine]:
        """The serving engines of an endpoint, by what its route names."""
        report = msgspec.json.decode(self._host.get("/v1/observe?since=0&wait_s=0").content, type=HostReport)
        routed = self._flags(endpoint)
        found = []
        for replica in report.replicas:
            process = replica.members[0].process if replica.members else None
            if replica.state is not HostReplicaState.SERVING or process is None or not isinstance(replica.address, Unix):
                continue
            leader = Identity(**msgspec.structs.asdict(process))
            if replica.address.path in routed and processes.alive(leader):
                found.append(Engine(replica.replica_id, replica.address.path, members_of(leader)))
        return sorted(found)

    def several(self, endpoint: str, count: int = 2) -> list[Engine] | None:
        """The serving engines, once there are so many."""
        found = self.engines(endpoint)
        return found if len(found) == count else None

    def out(self, endpoint: str) -> set[str]:
        """Sockets of the engines that Envoy sends nothing new because they hang."""
        return {socket for socket, flags in self._flags(endpoint).items() if OUT in flags}

    def healthy(self, endpoint: str) -> set[str]:
        """Sockets to which Envoy sends what comes next, by all that it knows."""
        return {socket for socket, flags in self._flags(endpoint).items() if flags == HEALTHY}

    def routed(self, endpoint: str) -> set[str]:
        """Sockets of all that Envoy knows of the endpoint."""
        return set(self._flags(endpoint))

    def _flags(self, endpoint: str) -> dict[str, str]:
        text = self._envoy.get("/clusters", params={"filter": f"^{self.project}/{endpoint}$"}).text
        lines = (line.split("::") for line in text.splitlines())
        return {words[1]: words[3] for words in lines if len(words) == 4 and words[2] == "health_flags"}


def members_of(leader: Identity) -> tuple[Identity, ...]:
    """Every process of the leader's session, the leader first, then by age."""
    found = [s for s in processes.all_stats() if s.session_id == leader.session_id and s.state not in "ZX"]
    ordered = sorted(found, key=lambda stat: (stat.pid != leader.pid, stat.start_ticks, stat.pid))
    return tuple(identity for stat in ordered if (identity := processes.identify(stat.pid)) is not None)
