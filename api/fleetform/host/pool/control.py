"""Asleep and awake, inside the engine (vLLM 0.32): our middleware hands over what is asked at PATHS. Standard library only.

vLLM's own way to ask is its development mode, which also lets whoever reaches the socket call any method of the engine. These two paths
are all that is wanted. They are on the engine's own socket, the gateway's list of paths does not have them, and what carries a header of
the gateway is passed on to vLLM, which knows no such path.
"""

import asyncio
from collections.abc import MutableMapping
from typing import Any

SLEEP, WAKE = "/ff/sleep", "/ff/wake"
PATHS = frozenset({SLEEP, WAKE})
LEVEL = 1
"""The weights go to the host's memory; the KV cache is dropped."""
MODE = "wait"
"""What is under way is finished first: where no proxy told, something may be."""


async def asked(scope: MutableMapping[str, Any]) -> tuple[int, dict[str, Any]]:
    """Do what scope, a request for one of PATHS, asks for; the status and the body of the answer. Asked again it changes nothing.

    Both are done whole, whether or not whoever asked still waits: half asleep, an engine could only be ended.
    """
    if scope["method"] != "POST":
        return 405, {"error": "only POST"}
    engine = getattr(getattr(scope.get("app"), "state", None), "engine_client", None)
    if engine is None:
        return 501, {"error": "this engine cannot sleep"}
    try:
        await asyncio.shield(engine.sleep(level=LEVEL, mode=MODE) if scope["path"] == SLEEP else engine.wake_up())
    except Exception as error:  # whatever the engine raises: the host ends it then
        return 500, {"error": f"{type(error).__name__}: {error}"[:500]}
    return 200, {"asleep": scope["path"] == SLEEP}
