"""What is looked at next: each key once, hints before the slow pass, nothing twice at a time."""

from datetime import datetime, timedelta

import anyio
import pytest

from fleetform.reconciler.queue import WorkQueue
from tests.builders import NOON

pytestmark = pytest.mark.anyio


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


async def took(queue: WorkQueue) -> str:
    with anyio.fail_after(2):
        return await queue.take()


async def test_hints_come_before_swept_keys_and_each_key_once() -> None:
    queue = WorkQueue(Clock())
    for key in ("a", "b", "c"):
        queue.sweep(key)
    queue.hint("c")
    queue.hint("c")
    order = []
    for _ in range(3):
        order.append(await took(queue))
        queue.done(order[-1])
    assert order == ["c", "a", "b"]
    assert queue.is_idle


async def test_a_key_that_is_worked_on_waits_for_its_worker() -> None:
    queue = WorkQueue(Clock())
    queue.hint("a")
    assert await took(queue) == "a"
    queue.hint("a")
    queue.hint("b")
    assert await took(queue) == "b"
    queue.done("a")
    assert await took(queue) == "a"


async def test_a_time_comes_once_and_the_earliest_counts() -> None:
    clock = Clock()
    queue = WorkQueue(clock)
    queue.later("a", NOON + timedelta(seconds=3600))
    queue.later("a", NOON + timedelta(seconds=1800))
    assert queue.is_idle
    clock.now += timedelta(seconds=1800)
    queue.look()
    assert await took(queue) == "a"
    queue.done("a")
    clock.now += timedelta(seconds=7200)
    assert queue.is_idle


async def test_a_worker_that_waits_is_woken_and_can_be_cancelled() -> None:
    queue = WorkQueue(Clock())
    queue.later("far", NOON + timedelta(days=1))
    with anyio.fail_after(2):
        async with anyio.create_task_group() as group:
            found: list[str] = []

            async def work() -> None:
                found.append(await queue.take())
                await queue.take()

            group.start_soon(work)
            await anyio.wait_all_tasks_blocked()
            queue.hint("near")
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
    assert found == ["near"]


async def test_a_key_that_is_looked_at_again_and_again_before_its_time_takes_no_more_room() -> None:
    """A schedule names a time in months; until then each of thousands of keys is looked at every few minutes."""
    clock = Clock()
    queue = WorkQueue(clock)
    for _ in range(10_000):
        for key in ("a", "b"):
            queue.hint(key)
            assert await took(queue) == key
            queue.done(key)
            queue.later(key, NOON + timedelta(days=60))
        clock.now += timedelta(seconds=300)
    assert len(queue._timers) < 1000
    clock.now = NOON + timedelta(days=60)
    queue.look()
    assert {await took(queue), await took(queue)} == {"a", "b"}
