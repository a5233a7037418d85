"""The long poll on what a host knows."""

import asyncio

import pytest

from fleetform.host.board import REMOVED_KEPT, Board
from fleetform.host.record import ReplicaRecord
from tests.builders import a_host, a_start_command

pytestmark = pytest.mark.anyio


async def test_a_reader_that_leaves_when_something_changes_is_gone() -> None:
    board = Board(a_host())
    reading = asyncio.create_task(board.observe(board.seq, 60))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    board.touch()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading


async def test_a_reader_is_told_after_its_wait_that_nothing_is_new() -> None:
    board = Board(a_host())
    report = await board.observe(board.seq, 0.01)
    assert (report.seq, report.replicas, report.full) == (board.seq, (), False)


async def test_removals_are_bounded_and_who_has_missed_one_is_told_everything() -> None:
    board = Board(a_host())
    for number in range(REMOVED_KEPT + 2):
        board.put_replica(ReplicaRecord(start=a_start_command(f"r{number}")).shown())
    began = board.seq
    board.remove_replica("r0")
    after_one = board.seq
    for number in range(1, REMOVED_KEPT + 1):
        board.remove_replica(f"r{number}")
    assert len(board.removed) == REMOVED_KEPT
    missed, knows = board.report(began), board.report(after_one)
    assert (missed.full, [replica.replica_id for replica in missed.replicas]) == (True, [f"r{REMOVED_KEPT + 1}"])
    assert (knows.full, len(knows.removed)) == (False, REMOVED_KEPT)
