"""What the database says, for fleetcheck."""

import msgspec

from fleetform.fleetcheck.facts import QuotaUse, RecordedEndpoint, Rows
from fleetform.store import checking, fleet, quotas
from fleetform.store.fleet import EndpointFacts


async def read(canaries: tuple[str, ...]) -> Rows:
    """Every row that an invariant speaks of. Statements follow each other: what changes in between may look broken once."""
    endpoints, unreadable = [], []
    for uid in await fleet.living_endpoints():
        try:
            facts = await fleet.load(uid)
        except (msgspec.MsgspecError, ValueError):
            unreadable.append(f"endpoint {uid}")
            continue
        if facts is not None:
            endpoints.append(_endpoint(facts))
    capacity = await fleet.capacity("", "")
    uses = []
    for project, instance_type, limit, reserved in await checking.quotas():
        used = (await quotas.use(project, instance_type, checking.NOBODY)).used
        uses.append(QuotaUse(project=project, instance_type=instance_type, limit=limit, used=used, reserved=reserved))
    return Rows(
        endpoints=tuple(endpoints),
        hosts=capacity.hosts,
        reservations=capacity.reservations,
        quotas=tuple(uses),
        unreadable=tuple(unreadable),
        unannounced=tuple(await checking.unannounced()),
        showing=tuple(await checking.showing(canaries)),
    )


def _endpoint(facts: EndpointFacts) -> RecordedEndpoint:
    desired = facts.desired
    return RecordedEndpoint(
        key=f"{desired.project}/{desired.name}",
        generation=desired.generation,
        observed_generation=facts.status.observed_generation,
        deleting=desired.deleting,
        weights={} if facts.rollout is None else facts.rollout.in_force,
        replicas=tuple(item.replica for item in facts.replicas),
        holding=frozenset(item.replica.replica_id for item in facts.replicas if item.holds),
    )
