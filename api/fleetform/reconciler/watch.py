"""Asks every host what has changed there, all the time, and passes it on."""

import asyncio
from collections.abc import Callable, Iterable, Mapping

import structlog

from fleetform.domain.machine import HostCapacity
from fleetform.domain.protocol import HostReport
from fleetform.errors import DatabaseAway, HostUnreachable
from fleetform.reconciler.deps import Deps
from fleetform.reconciler.publisher import Publisher
from fleetform.reconciler.sight import Sight
from fleetform.store import hosts

log = structlog.get_logger(__name__)
WAIT_S = 5.0
"""How long a host may keep a question open while nothing changes."""
RELIST_S = 300.0
"""How often a host is asked for everything, in case a change was missed."""
DISCOVER_S = 30.0
RETRY_S = 0.5


class Watch:
    """One task per host. on_keys: routes of which a gateway says something new. on_hosts: capacity has changed, or a host answers again.

    on_waiting: requests that a gateway holds, by route.
    """

    def __init__(
        self,
        deps: Deps,
        sight: Sight,
        publisher: Publisher,
        on_keys: Callable[[Iterable[str]], None],
        on_hosts: Callable[[], None],
        on_waiting: Callable[[str, Mapping[str, int]], None],
    ) -> None:
        self._deps = deps
        self._sight = sight
        self._publisher = publisher
        self._on_keys = on_keys
        self._on_hosts = on_hosts
        self._on_waiting = on_waiting
        self._saved: dict[str, tuple[str, HostCapacity]] = {}
        self._gateways: set[str] = set()

    async def run(self) -> None:
        """Find hosts and watch each of them, until cancelled."""
        watched: set[str] = set()
        async with asyncio.TaskGroup() as group:
            while True:
                try:
                    names = await self._deps.driver.hosts()
                except HostUnreachable as error:
                    log.warning("hosts_unknown", error=error.message)
                    await asyncio.sleep(RETRY_S)
                    continue
                self._sight.expect(names)
                for name in names:
                    if name not in watched:
                        watched.add(name)
                        group.create_task(self._follow(name, group))
                await asyncio.sleep(DISCOVER_S)

    async def _follow(self, name: str, group: asyncio.TaskGroup) -> None:
        clock = asyncio.get_running_loop().time
        since, heard_at, listed_at, missed = 0, clock(), clock(), False
        while True:
            self._sight.ask(name)
            try:
                report = await self._deps.driver.observe(name, since, WAIT_S)
            except HostUnreachable as error:
                missed = True
                if clock() - heard_at >= self._deps.host_grace_s and self._sight.lose(name, self._deps.now()):
                    log.warning("host_unreachable", host=name, error=error.message)
                await asyncio.sleep(min(RETRY_S, self._deps.host_grace_s))
                continue
            heard_at = clock()
            await self._take(name, report, group)
            if missed:
                # What could not be sent waits for its back-off, and after a short silence nothing in sight has changed that would wake it.
                missed = False
                self._on_hosts()
            listed_at = heard_at if report.full else listed_at
            since = 0 if heard_at - listed_at >= RELIST_S else report.seq

    async def _take(self, name: str, report: HostReport, group: asyncio.TaskGroup) -> None:
        if await self._save(report):
            self._on_hosts()
        back = self._sight.merge(name, report)
        if back:
            log.info("host_answers", host=name, instance=report.instance)
            self._on_hosts()
        if report.gateway is None:
            return
        if name not in self._gateways:
            self._gateways.add(name)
            self._publisher.add_gateway(name)
            group.create_task(self._publisher.serve(name))
        self._on_keys(self._publisher.heard(name, report.gateway))
        self._on_waiting(name, report.gateway.waiting)

    async def _save(self, report: HostReport) -> bool:
        """Record what the host offers, when that differs; True when it did."""
        fact = (report.boot_id, report.capacity)
        if self._saved.get(report.host) == fact:
            return False
        try:
            changed = await hosts.save(report.capacity, report.boot_id, self._deps.now())
        except DatabaseAway as error:
            log.warning("host_not_saved", host=report.host, error=error.message)
            return False
        self._saved[report.host] = fact
        return changed
