"""Streams that ended with a last event: Envoy's log calls them whole, so that they are counted for their track here, once."""

import time
from collections.abc import Callable

from fleetform.domain.replica import Unix
from fleetform.gateway.windows import WindowStore
from fleetform.host.farewells.keeper import Count
from fleetform.host.replicas import Replicas


def counter(replicas: Replicas, store: WindowStore) -> Callable[[str], Count]:
    """`Keeper`'s whose: by the path of its socket the replica that an engine served, as long as its record is here."""

    def whose(engine: str) -> Count:
        found = [r for r in replicas.replicas.values() if r.record.address == Unix(path=engine)]
        replica = min(found, key=lambda r: r.exited, default=None)
        if replica is None:
            return lambda _: None
        record = replica.record

        def count(streams: int) -> None:
            # What was cut because its replica is to leave says nothing against the version, and broke off all the same.
            failed, broken = (streams, 0) if record.drain_until is None else (0, streams)
            store.streamed(record.route_key, record.start.track.track_id, time.time(), gaps={}, failed=failed, broken=broken)

        return count

    return whose
