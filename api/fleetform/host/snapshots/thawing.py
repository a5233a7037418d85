"""An engine is taken from disk: the same processes under the same pids, in the same directories, on the same socket."""

import asyncio
import signal
import threading
from collections.abc import Callable
from pathlib import Path

from fleetform.host import gate, processes
from fleetform.host.launcher import launch
from fleetform.host.layout import Layout
from fleetform.host.pool.asking import Refused
from fleetform.host.processes import Identity
from fleetform.host.snapshots import criu as program
from fleetform.host.snapshots import freezing, image, shared
from fleetform.host.snapshots.criu import Criu
from fleetform.host.snapshots.image import Frozen
from fleetform.host.threads import patiently, to_its_end
from fleetform.steps import Step, step


async def thaw(layout: Layout, criu: Criu, frozen: Frozen, limit_s: float, on_process: Callable[[Identity], None]) -> Identity:
    """The leader of the engine, which runs again. on_process puts on disk who brings it back, before that begins.

    Refused: what has become of it is in the session of that process, bears the engine's mark, or is found by `end_half_back`. That the
    image is whole is seen while it is read, so that it costs no time; nothing serves before.
    """
    folder, engine_id = layout.snapshot(frozen.engine_id), frozen.engine_id
    await freezing.until_free(frozen.pids)
    over = threading.Event()
    whole = asyncio.ensure_future(patiently(image.why_not_whole, folder, frozen, over))
    try:
        await to_its_end(shared.put_back, frozen.pieces, image.images(folder))
        work = layout.work(engine_id)
        (work / program.PIDFILE).unlink(missing_ok=True)
        argv, env = criu.restore(image.images(folder), work), freezing.environment(layout.scratch(engine_id))
        maker = await to_its_end(launch, argv, env, work, folder / "criu.log", on_process, mode=gate.CONFINED)
        step(Step.THAWING)
        await freezing.ran(layout, maker, work, work / program.RESTORE_LOG, limit_s)
        leader = processes.identify(int((work / program.PIDFILE).read_text()))
        if leader is None or leader.session_id != leader.pid or not processes.alive(leader):
            raise Refused("criu has brought back no engine")
        step(Step.THAWED)
        why = await whole
    except (OSError, ValueError) as error:
        raise Refused(f"it cannot be taken from disk: {error}") from error
    finally:
        # The folder is not removed under the thread; whoever stops us does not wait for all of a large image.
        over.set()
        await asyncio.wait({whole})
    if why:
        raise Refused(why)
    return leader


def end_half_back(frozen: Frozen, work: Path) -> None:
    """End whatever was being brought back when CRIU was ended. Blocks until it is gone.

    Such a process shows neither a session of ours nor the engine's mark: CRIU overwrites its own environment, which they have until
    their own is there. But it has a pid that the engine had, all of which were free before, and works where nobody else does.
    """
    while found := [member for pid in frozen.pids if (member := processes.identify(pid)) and processes.works_in(member, work)]:
        for member in found:
            processes.send(member, signal.SIGKILL)
        processes.wait_for_all(found, 1.0)
