"""Engines that sleep are told to end: the command waits for none of their ends, and nothing of theirs is given away before."""

import asyncio
import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fleetform import settings
from fleetform.domain.protocol import EvictSleeping
from fleetform.domain.replica import Unix
from fleetform.host import ending, processes
from fleetform.host.board import Board
from fleetform.host.layout import Layout
from fleetform.host.ledger import Ledger
from fleetform.host.pool import evicting, sleeper
from fleetform.host.pool import pool as pool_module
from fleetform.host.pool.pool import WarmPool
from fleetform.host.pool.sleeper import Sleeper
from fleetform.host.processes import Identity
from fleetform.host.record import domain_identity
from fleetform.host.snapshots import image, snapshots
from fleetform.host.snapshots.criu import Criu
from fleetform.host.snapshots.snapshots import Snapshots
from tests.builders import a_host, a_start_command
from tests.host.icy import a_frozen

pytestmark = pytest.mark.anyio
GIVES_UP_S = 10.0


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(settings.load({"FLEETFORM_HOME": str(tmp_path / "home"), "XDG_RUNTIME_DIR": str(tmp_path)}))


@pytest.fixture
def board() -> Board:
    return Board(a_host())


async def reached(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(GIVES_UP_S):
        while not holds():  # what is waited for is a state, of which nobody tells
            await asyncio.sleep(0.01)


def this_process() -> Identity:
    me = processes.identify(os.getpid())
    assert me is not None
    return me


def asleep(engine_id: str) -> Sleeper:
    return Sleeper(
        engine_id=engine_id,
        fingerprint=f"word of {engine_id}",
        start=a_start_command(engine_id),
        nonce="n",
        address=Unix(path="/nowhere"),
        process=domain_identity(this_process()),
        since=datetime.now(UTC),
        memory_mib=100,
        residue_mib={},
    )


async def test_one_that_takes_its_time_to_end_holds_up_no_command(layout: Layout, board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it has ended its memory is not given away, and from the command on nobody wakes it, nor does the next worker."""
    ending_now, may_end = asyncio.Event(), asyncio.Event()

    async def end(layout: Layout, found: Sleeper) -> None:
        ending_now.set()
        assert '"ending":true' in layout.sleeper(found.engine_id).read_text(), "it is on disk before it is touched"
        await may_end.wait()

    monkeypatch.setattr(evicting, "end", end)
    monkeypatch.setattr(pool_module, "LOOK_S", 3600.0)  # the command has it look, also in the middle of a look
    pool = WarmPool(layout, board, Ledger(a_host(), None, 1000), 60)
    for engine_id in ("r1", "r2", "r3"):
        sleeper.save(layout, asleep(engine_id))
    pool.adopt(("r3",))
    pool.evict(EvictSleeping(engine_ids=("r2", "r3")).engine_ids)
    await asyncio.wait_for(ending_now.wait(), GIVES_UP_S)
    pool.evict(("r1", "unknown"))
    for engine_id in ("r1", "r2"):
        assert pool.claim(f"word of {engine_id}") is None
        assert pool.holds(engine_id)
    assert [shown.engine_id for shown in board.sleeping] == ["r1", "r2", "r3"]
    may_end.set()
    await reached(lambda: [shown.engine_id for shown in board.sleeping] == ["r3"])
    pool.leave("r3")
    claimed = pool.claim("word of r3")
    assert claimed is not None, "it was a replica's when it was to be ended"
    await pool.let_go()


async def test_a_copy_of_a_record_is_no_other_engine(layout: Layout) -> None:
    sleeper.save(layout, asleep("r1"))
    layout.sleeper("r0").write_bytes(layout.sleeper("r1").read_bytes())
    layout.sleeper("r1").unlink()
    assert list(sleeper.load_all(layout)) == []
    assert layout.sleeper("r0").exists(), "what cannot be told is left where it is"


async def test_one_that_takes_its_time_to_be_removed_holds_up_no_command(
    layout: Layout, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    removing, may_go = threading.Event(), threading.Event()
    discard = image.discard

    def slowly(folder: Path) -> None:
        removing.set()
        assert may_go.wait(GIVES_UP_S)
        discard(folder)

    monkeypatch.setattr(image, "discard", slowly)
    criu = Criu("/bin/true", "4.0")
    for engine_id in ("r1", "r2"):
        image.begin(layout.snapshot(engine_id))
        image.seal(layout.snapshot(engine_id), a_frozen(engine_id, machine=snapshots._digest(criu)))
    found = Snapshots(layout, board, criu, 1000, 60)
    found.adopt(())
    found.evict(("r1",))
    assert await asyncio.to_thread(removing.wait, GIVES_UP_S)
    found.evict(("r2",))
    taken = asyncio.create_task(found.claim("word of r2"))
    may_go.set()
    assert await asyncio.wait_for(taken, GIVES_UP_S) is None
    await reached(lambda: board.sleeping == ())
    assert list(layout.snapshots.iterdir()) == []
    await found.let_go()


async def test_one_on_disk_that_is_to_be_removed_is_given_to_nobody(layout: Layout, board: Board) -> None:
    criu = Criu("/bin/true", "4.0")
    image.begin(layout.snapshot("r1"))
    image.seal(layout.snapshot("r1"), a_frozen("r1", machine=snapshots._digest(criu)))
    found = Snapshots(layout, board, criu, 1000, 60)
    found.adopt(())
    found.evict(("r1",))
    assert await found.claim("word of r1") is None
    await reached(lambda: board.sleeping == ())
    await found.let_go()


async def test_all_processes_of_the_machine_are_looked_at_beside_the_event_loop(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[threading.Thread] = []

    def in_doubt(layout: Layout, engine_id: str, identity: Identity) -> str:
        asked.append(threading.current_thread())
        return "perhaps a stranger's"

    monkeypatch.setattr(ending, "left_in_doubt", in_doubt)
    found = asleep("r1")
    monkeypatch.setattr(processes, "end_group", lambda *_: True)
    monkeypatch.setattr(processes, "end_strays", lambda *_: None)
    monkeypatch.setattr(evicting, "GRACE_S", 0.0)
    assert await evicting.end(layout, found) == "perhaps a stranger's"
    assert asked
    assert threading.main_thread() not in asked
