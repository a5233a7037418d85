"""A server in the simulation: the parts of a real term, woken by the same words, without its tasks and its clock."""

import asyncio
import contextvars
from collections.abc import Coroutine
from typing import Any, cast

from fleetform.domain.protocol import HostReport
from fleetform.errors import DatabaseAway, HostUnreachable, NotLeader
from fleetform.reconciler.deps import ENDPOINT, Deps
from fleetform.reconciler.loop import Term
from fleetform.store.lease import Claim
from tests.simulation.machines import Machines
from tests.simulation.memory import Memory
from tests.simulation.points import CURRENT

WORKERS = 3


class _NoTasks:
    """Stands for the group of a term's tasks: publishing is driven from here."""

    def create_task(self, part: Coroutine[Any, Any, None]) -> None:
        part.close()


class _Led:
    """A claim that was taken."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch


async def _raise(_key: str, error: Exception) -> None:
    """A bug that the loop would keep to one endpoint."""
    raise error


class Server:
    """One server with one epoch. stopped: by SIGSTOP; its calls may be answered, and it does nothing. over: dead, or not leading any more.

    asked: reports on their way, by host. error: the bug that it met.
    """

    def __init__(self, name: str, epoch: int, deps: Deps, memory: Memory, machines: Machines) -> None:
        self.name, self.epoch = name, epoch
        self._now = deps.now
        self._memory, self._machines = memory, machines
        self.stopped = self.over = False
        self.asked: dict[str, HostReport | None] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.telling: set[str] = set()
        self._since: dict[str, int] = {}
        self._sweeping = False
        self.term = Term(deps, cast(Claim, _Led(epoch)))
        self.term.sight.expect(tuple(machine.capacity.host for machine in machines.everywhere()))
        self.term._sweep_now.set()
        self.term.passes._tell_poison = _raise  # type: ignore[assignment,method-assign]  # not the loop's log, but this server's error
        self.error: BaseException | None = None

    @property
    def acts(self) -> bool:
        return not self.stopped and not self.over

    @property
    def has_heard_all(self) -> bool:
        """A plan made before would take every replica for lost."""
        return self.term.sight._everybody_asked.is_set()

    @property
    def working(self) -> int:
        return sum(1 for task in self.tasks if not task.done())

    def die(self) -> None:
        """At whatever point each of its calls is."""
        self.over = True
        for task in self.tasks:
            task.cancel()

    def hear(self, uid: str) -> None:
        """A notification of the database."""
        if not self.over:
            self.term._told(f"{ENDPOINT} {uid}")

    def look(self) -> bool:
        """Begin all that is due: passes, the slow pass, telling gateways. False when nothing was."""
        begun = False
        if self.has_heard_all and self.term._sweep_now.is_set() and not self._sweeping:
            self.term._sweep_now.clear()
            self._sweeping = begun = True
            self._start(self._sweep())
        while self.has_heard_all and self.working < WORKERS and (key := self.term.queue.next()) is not None:
            begun = True
            self._start(self.term.passes.make(key))
        for host, gateway in self.term.publisher._gateways.items():
            if (gateway.dirty or gateway.access_dirty) and host not in self.telling:
                self.telling.add(host)
                begun = True
                self._start(self._tell(host))
        return begun

    def ask(self, host: str) -> None:
        """The answer to an observe leaves the host; None: there is none."""
        self.term.sight.ask(host)
        try:
            self.asked[host] = self._machines.machine(host).report(self._since.get(host, 0))
        except HostUnreachable:
            self.asked[host] = None

    def is_behind(self, host: str) -> bool:
        """True when the host has something to say that this server has not heard."""
        known = self.term.sight.hosts.get(host)
        try:
            machine = self._machines.machine(host)
        except HostUnreachable:
            return known is None or known.reachable or not self.has_heard_all
        return known is None or not known.reachable or machine.seq > self._since.get(host, 0)

    async def take_report(self, host: str, *, forgetful: bool = False) -> None:
        """The answer arrives. forgetful: everything is asked for next time."""
        report = self.asked.pop(host)
        if report is None:
            self.term.sight.lose(host, self._now())
            return
        await self.term._watch._take(host, report, cast(asyncio.TaskGroup, _NoTasks()))
        self._since[host] = 0 if forgetful else report.seq

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        context = contextvars.copy_context()
        context.run(CURRENT.set, self)
        task = asyncio.get_running_loop().create_task(self._unless_over(work), context=context)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _unless_over(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except NotLeader:
            self.die()
        except Exception as error:
            self.error = error

    async def _sweep(self) -> None:
        try:
            for uid, row in self._memory.endpoints.items():
                if row.alive:
                    self.term.queue.sweep(f"{ENDPOINT} {uid}")
            await self.term.endpoints.tidy()
        except (DatabaseAway, HostUnreachable):
            self.term._sweep_now.set()
        finally:
            self._sweeping = False

    async def _tell(self, host: str) -> None:
        try:
            await self.term.publisher.tell(host)
        except HostUnreachable:
            pass  # told again, since it is still not told
        finally:
            self.telling.discard(host)
