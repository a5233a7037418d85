"""Facts of the database and what is in sight of hosts and gateways → what a plan is made from."""

import msgspec

from fleetform.domain.load import Windows
from fleetform.planner import gate
from fleetform.planner.model import Observed, SeenReplica
from fleetform.reconciler.comparison import compared
from fleetform.reconciler.deps import Deps
from fleetform.reconciler.publisher import Publisher
from fleetform.reconciler.scaling import Scaler
from fleetform.reconciler.sight import Sight
from fleetform.reconciler.wearing import Wearing
from fleetform.store.fleet import EndpointFacts


class Observer:
    """Puts together what one leader knows of an endpoint."""

    def __init__(self, deps: Deps, sight: Sight, publisher: Publisher, scaler: Scaler, wearing: Wearing) -> None:
        self._deps = deps
        self._sight = sight
        self._publisher = publisher
        self._scaler = scaler
        self._wearing = wearing

    async def observed(self, facts: EndpointFacts) -> Observed:
        """All but the capacity of hosts, which is read for a plan that asks for it."""
        return msgspec.structs.replace(self._seen(facts), windows=await self._windows(facts))

    def _seen(self, facts: EndpointFacts) -> Observed:
        desired = facts.desired
        return Observed(
            status=facts.status,
            seed=self._deps.new_id(),
            start_timeout_s=self._deps.settings.start_timeout_s,
            host_lost_s=self._deps.settings.host_lost_s,
            booked=facts.booked,
            held=facts.held,
            rollout=facts.rollout,
            scaling=facts.scaling,
            decision=self._scaler.decision(desired.uid),
            start_times=facts.start_times,
            replicas=tuple(
                SeenReplica(
                    replica=item.replica,
                    seen=self._sight.replica(item.replica.members[0].host, item.replica.replica_id),
                    reachable=self._sight.is_reachable(item.replica.members[0].host),
                    holds=item.holds,
                    away_since=self._sight.away_since(item.replica.members[0].host),
                    worn=self._wearing.worn(item.replica.replica_id),
                    in_flight=self._scaler.loads.in_flight(item.replica.replica_id),
                )
                for item in facts.replicas
            ),
            sleepers=self._sight.sleepers_of(desired.uid),
            published=self._publisher.published(f"{desired.project}/{desired.name}", desired.project, desired.name),
        )

    async def _windows(self, facts: EndpointFacts) -> Windows | None:
        """How the versions of a rollout do, when its step is held; None: nobody asks for it, or no gateway answers."""
        since = gate.watched_since(facts.rollout, facts.desired.effective)
        if since is None or facts.desired.deleting:
            return None
        return await compared(self._deps.driver, self._sight, f"{facts.desired.project}/{facts.desired.name}", since)
