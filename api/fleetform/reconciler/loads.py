"""What hosts and gateways have measured last, kept in memory, and what it says of one endpoint or replica.

Hosts tell the time by their own clocks. Here a measurement is as old as the answer in which it first came, so that a clock that is set,
or a sampler that stands still behind an answering host, is not taken for news.
"""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

from fleetform.domain.load import EndpointLoad, EngineLoad, GatewayLoad, HostLoad, ReplicaLoad
from fleetform.domain.scaling import LoadSample
from fleetform.planner.autoscale import Unheard, is_fresh

ABSENT_S = 60.0
"""A gateway leaves out what has had nothing under way for so long."""


class _Gateway:
    """One gateway's last measurement. at, since: when it was taken and when counting began, by our clock."""

    def __init__(self, load: GatewayLoad, now: datetime) -> None:
        self.counted_at = load.at
        self.at = now
        self.since = now - (load.at - load.since)
        self.endpoints: dict[str, EndpointLoad] = {endpoint.key: endpoint for endpoint in load.endpoints}
        self.replicas: dict[str, ReplicaLoad] = {replica.replica_id: replica for replica in load.replicas}


class _Engine(NamedTuple):
    """What one engine said last. at: when that was new, by our clock."""

    load: EngineLoad
    at: datetime

    @classmethod
    def told(cls, load: EngineLoad, before: "_Engine | None", now: datetime) -> "_Engine":
        """before: what it had said until now."""
        return cls(load, now if before is None or before.load.at != load.at else before.at)


class Loads:
    """The last answers of all hosts.

    _active_at: endpoints of which a sample was taken, and when they were last asked for something. _left_out: gateways that have been
    silent for so long that they are counted no more.
    """

    def __init__(self) -> None:
        self._gateways: dict[str, _Gateway] = {}
        self._engines: dict[str, dict[str, _Engine]] = {}
        self._active_at: dict[str, datetime] = {}
        self._left_out: set[str] = set()

    def take(self, load: HostLoad, now: datetime) -> None:
        """Take in what a host answered now."""
        before = self._engines.get(load.host, {})
        self._engines[load.host] = {engine.replica_id: _Engine.told(engine, before.get(engine.replica_id), now) for engine in load.engines}
        known = self._gateways.get(load.host)
        if load.gateway is None or (known is not None and known.counted_at == load.gateway.at):
            return
        self._gateways[load.host] = _Gateway(load.gateway, now)
        self._left_out.discard(load.host)

    def leave_out(self, hosts: Iterable[str]) -> None:
        """These hosts have been silent for so long that what they told last says nothing any more, until they tell again."""
        for host in hosts:
            self._engines.pop(host, None)
            if self._gateways.pop(host, None) is not None:
                self._left_out.add(host)

    def unheard(self, now: datetime) -> Unheard:
        """The gateways that `sample` does not count."""
        heard = self._heard(now)
        return Unheard(silent=tuple(sorted(self._gateways.keys() - heard.keys())), left_out=tuple(sorted(self._left_out)))

    @property
    def remembered(self) -> int:
        """Endpoints of which something is kept beyond what was told last."""
        return len(self._active_at)

    def forget(self, key: str) -> None:
        """The endpoint `key` is gone."""
        self._active_at.pop(key, None)

    def is_busy(self, key: str) -> bool:
        """True when some gateway has had something under way for the endpoint `key` within a minute."""
        return any(key in gateway.endpoints for gateway in self._gateways.values())

    def sample(self, key: str, replicas: Collection[str], now: datetime) -> LoadSample | None:
        """The endpoint's load over all gateways that are heard, with that of its replicas' engines; None when no gateway has ever told.

        Where none is heard it is what they told last, and as old.
        """
        gateways = self._heard(now).values()
        if not gateways:
            return None
        here = [gateway.endpoints[key] for gateway in gateways if key in gateway.endpoints]
        active_at = self._active_at[key] = self._active(key, now)
        found = [engine for replica_id in replicas if (engine := self._engine(replica_id)) is not None]
        in_use, waiting, capacity = _tokens([engine.load for engine in found if is_fresh(engine.at, now)])
        return LoadSample(
            at=min(gateway.at for gateway in gateways),
            since=max(gateway.since for gateway in gateways),
            stable=sum(endpoint.stable for endpoint in here),
            burst=sum(endpoint.burst for endpoint in here),
            queued=sum(endpoint.queued for endpoint in here),
            idle_s=(now - active_at).total_seconds(),
            tokens_in_use=in_use,
            tokens_waiting=waiting,
            token_capacity=capacity,
        )

    def _heard(self, now: datetime) -> dict[str, _Gateway]:
        """The gateways that have told lately; all of them when none has."""
        return {host: gateway for host, gateway in self._gateways.items() if is_fresh(gateway.at, now)} or self._gateways

    def _active(self, key: str, now: datetime) -> datetime:
        """When the endpoint was last asked for something. Never later than now: a clock may have been set back."""
        known = [gateway for gateway in self._gateways.values() if key in gateway.endpoints and gateway.at <= now]
        told = [gateway.at - timedelta(seconds=gateway.endpoints[key].idle_s) for gateway in known]
        if key in self._active_at:
            told.append(self._active_at[key])
        # Of an endpoint of which no gateway speaks it is only known that it has rested for that long.
        return min(now, max(told, default=now - timedelta(seconds=ABSENT_S)))

    def in_flight(self, replica_id: str) -> int | None:
        """Requests under way at a replica, over all gateways; None when no gateway has told. One that is left out rests."""
        if not self._gateways:
            return None
        return sum(g.replicas[replica_id].in_flight for g in self._gateways.values() if replica_id in g.replicas)

    def served(self, replica_id: str) -> int | None:
        """Requests that have ended at a replica, over all gateways; None when none of them speaks of it now."""
        found = [g.replicas[replica_id].served for g in self._gateways.values() if replica_id in g.replicas]
        return sum(found) if found else None

    def engine(self, replica_id: str) -> EngineLoad | None:
        """What a replica's engine said of itself last; None when its host does not tell."""
        found = self._engine(replica_id)
        return None if found is None else found.load

    def _engine(self, replica_id: str) -> "_Engine | None":
        return next((engines[replica_id] for engines in self._engines.values() if replica_id in engines), None)


def _tokens(engines: Collection[EngineLoad]) -> tuple[float | None, float | None, int | None]:
    """Tokens in use and waiting in all engines that say, and what the smallest of them holds."""
    told = [(e, e.token_capacity, e.kv_usage) for e in engines if e.token_capacity and e.kv_usage is not None]
    if not told:
        return None, None, None
    in_use = sum(capacity * usage for _, capacity, usage in told)
    waiting = sum((e.waiting or 0) * (e.prompt_tokens_mean or 0.0) for e, _, _ in told)
    return in_use, waiting, min(capacity for _, capacity, _ in told)
