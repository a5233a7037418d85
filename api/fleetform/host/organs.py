"""The processes of an engine without which it cannot answer: when the first of them ends, the engine has ended.

vLLM's API server, which is what the host has started, goes on for many seconds after its engine core or a worker has died, and answers
every request with an error. All of vLLM's own processes are known by what they call themselves; whatever Python starts beside them, a
resource tracker or a compiler, comes and goes.
"""

import asyncio
import os
from pathlib import Path

from fleetform.host import processes
from fleetform.host.exits import Exit, gone
from fleetform.host.processes import Identity

TITLE = "VLLM::"


async def first_to_end(leader: Identity, home: Path) -> tuple[str, Exit]:
    """Wait until a process of leader's session (begun in home) has ended without which it cannot answer: which one, and how.

    Without such a process it waits for ever.
    """
    tasks = [asyncio.create_task(_ended(name, organ)) for name, organ in await asyncio.to_thread(_organs, leader, home)]
    if not tasks:
        never: asyncio.Future[tuple[str, Exit]] = asyncio.get_running_loop().create_future()
        return await never
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return done.pop().result()
    finally:
        for task in tasks:
            task.cancel()


def _organs(leader: Identity, home: Path) -> list[tuple[str, Identity]]:
    others = (member for member in processes.group(leader, home).ours if member != leader)
    return [(title, member) for member in others if (title := _title(member)).startswith(TITLE)]


def _title(member: Identity) -> str:
    try:
        words = Path(f"/proc/{member.pid}/cmdline").read_bytes()
    except OSError:
        return ""
    return words.partition(b"\0")[0].decode(errors="replace").strip()


async def _ended(name: str, organ: Identity) -> tuple[str, Exit]:
    seen = await gone(organ)
    return f"process {name} (pid {organ.pid})", seen or _as_zombie(organ)


def _as_zombie(organ: Identity) -> Exit:
    """How it ended, by what the kernel shows until its parent has asked; Exit() when that was quicker."""
    status = processes.exit_status(organ)
    if status is None:
        return Exit()
    code = os.waitstatus_to_exitcode(status)
    return Exit(code=code) if code >= 0 else Exit(code=128 - code, signal=-code)
