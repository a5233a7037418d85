"""What the store tells its listeners, and in which words: one line per change, sent when the transaction commits.

endpoint <uid>   an endpoint's wish changed, or something it is made of: the reconciler looks at it
version <uid>    a model version was registered, came back or went
status <uid>     the status of an endpoint or model version changed: for whoever waits for it
access           keys, revocations: the gateways must learn it
"""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from fleetform.store.database import notify

Row = dict[str, Any]


async def endpoint(uid: UUID | str) -> None:
    await notify(f"endpoint {uid}")


async def endpoints(found: Iterable[Row]) -> None:
    """Rows with a uid each."""
    for row in found:
        await endpoint(row["uid"])


async def version(uid: UUID | str) -> None:
    await notify(f"version {uid}")


async def status(uid: UUID | str) -> None:
    await notify(f"status {uid}")


async def access() -> None:
    await notify("access")
