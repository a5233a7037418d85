"""A plan while it is being made: what the steps of `plan` hand to each other."""

from datetime import datetime
from typing import Any

import msgspec

from fleetform.domain.base import Record
from fleetform.domain.desired import Desired
from fleetform.domain.endpoint import Rejected
from fleetform.domain.events import NewEvent
from fleetform.domain.replica import Replica
from fleetform.domain.rollout import Rollout, RolloutState
from fleetform.domain.scaling import ScalingDecision
from fleetform.planner.model import Blocked, BlockReason, Observed, Reserve, SeenReplica
from fleetform.planner.starts import limit_s

FETCH_BYTES_PER_S = 20 * 1024 * 1024
"""The slowest transfer that still counts as progress, for the deadline of a start."""


class Draft(Record, frozen=True, kw_only=True):
    """replicas: as they are after this plan, without the new ones. reserves: the new ones.

    ended: the record of a rollout that this plan superseded. events: what is told of the rollout's steps and of the count.
    scaling: the decision about the count that holds now.
    """

    desired: Desired
    observed: Observed
    state: RolloutState | None
    now: datetime
    replicas: tuple[Replica, ...] = ()
    reserves: tuple[Reserve, ...] = ()
    blocked: tuple[Blocked, ...] = ()
    rejection: Rejected | None = None
    needs_capacity: bool = False
    ended: Rollout | None = None
    events: tuple[NewEvent, ...] = ()
    scaling: ScalingDecision | None = None

    def but(self, **changes: Any) -> "Draft":
        """The draft with these fields replaced."""
        return msgspec.structs.replace(self, **changes)

    def waiting(self, reason: BlockReason, message: str) -> "Draft":
        return self.but(blocked=(*self.blocked, Blocked(reason=reason, message=message)))

    @property
    def wanted_state(self) -> RolloutState:
        """The state, where there is one: once a generation was adopted."""
        if self.state is None:
            raise ValueError(f"{self.desired.project}/{self.desired.name} has no generation yet")
        return self.state

    @property
    def rejected(self) -> Rejected | None:
        """What was turned back, as long as no newer generation has been sent."""
        found = self.rejection or self.observed.status.rejected
        return found if found is not None and found.generation >= self.desired.generation else None

    def item(self, replica_id: str) -> SeenReplica:
        return next(item for item in self.observed.replicas if item.replica.replica_id == replica_id)

    def reachable(self, replica_id: str) -> bool:
        return self.item(replica_id).reachable

    def stoppable(self) -> frozenset[str]:
        """Ids of replicas whose host answers."""
        return frozenset(item.replica.replica_id for item in self.observed.replicas if item.reachable)

    def busy(self) -> dict[str, int]:
        """Requests under way by replica, of those where any are known."""
        return {item.replica.replica_id: item.in_flight for item in self.observed.replicas if item.in_flight}

    def start_limit_s(self, track: str) -> int:
        """How long a start of the track may take: the engine, and the transfer of its artifact while the track is known."""
        engine_s = limit_s(self.observed.start_times.get(track), self.observed.start_timeout_s)
        if self.state is None or track not in self.state.tracks:
            return engine_s
        return engine_s + self.state.tracks[track].manifest.size_bytes // FETCH_BYTES_PER_S

    @property
    def asked(self) -> int:
        """Replicas that the endpoint asks for, before each track with traffic has one."""
        return self.desired.effective.min_replicas if self.scaling is None else self.scaling.replicas

    def count(self, state: RolloutState) -> int:
        """Replicas that the endpoint asks for: none, or at least one per track with traffic."""
        return 0 if self.asked == 0 else max(self.asked, len(state.new))
