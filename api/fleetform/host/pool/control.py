"""Asleep, awake and forgetful, inside the engine (vLLM 0.32): our middleware hands over what is asked at PATHS. Standard library only.

vLLM's own way to ask is its development mode, which also lets whoever reaches the socket call any method of the engine. These paths are
all that is wanted. They are on the engine's own socket, the gateway's list of paths does not have them, and what carries a header of
the gateway is passed on to vLLM, which knows no such path.
"""

import asyncio
from collections.abc import MutableMapping
from typing import Any

SLEEP, WAKE, FORGET = "/ff/sleep", "/ff/wake", "/ff/forget"
PATHS = frozenset({SLEEP, WAKE, FORGET})
LEVEL = 1
"""The weights go to the host's memory; the KV cache is dropped."""
MODE = "wait"
"""What is under way is finished first: where no proxy told, something may be."""


async def asked(scope: MutableMapping[str, Any]) -> tuple[int, dict[str, Any]]:
    """Do what scope, a request for one of PATHS, asks for; the status and the body of the answer. Asked again it changes nothing.

    All are done whole, whether or not whoever asked still waits: half asleep, an engine could only be ended.
    """
    if scope["method"] != "POST":
        return 405, {"error": "only POST"}
    engine = getattr(getattr(scope.get("app"), "state", None), "engine_client", None)
    if engine is None:
        return 501, {"error": "this engine cannot sleep"}
    try:
        await asyncio.shield(_done(engine, scope["path"]))
    except Exception as error:  # whatever the engine raises: the host ends it then
        return 500, {"error": f"{type(error).__name__}: {error}"[:500]}
    return 200, {"asleep": scope["path"] == SLEEP}


async def _done(engine: Any, path: str) -> None:
    """Forgetful, it finds nothing of any prompt, image or sound that it has read."""
    if path == SLEEP:
        await engine.sleep(level=LEVEL, mode=MODE)
    elif path == WAKE:
        await engine.wake_up()
    else:
        if not await engine.reset_prefix_cache():
            raise RuntimeError("the prefix cache is in use")
        await engine.reset_mm_cache()
        await engine.reset_encoder_cache()
