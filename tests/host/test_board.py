"""The long poll on what a host knows."""

import asyncio

import pytest

from fleetform.host.board import Board
from tests.builders import a_host

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
