"""Lists: however long a page is, it takes as few statements as a short one."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from fleetform.domain.access import Role
from fleetform.domain.decode import decode
from fleetform.domain.machine import InstanceTypeSpec
from fleetform.domain.project import CredentialRequest, QuotaSpec, RoleBindingSpec, TokenSpec
from fleetform.store import bindings, credentials, database, machines, quotas, tokens
from fleetform.store.writing import ANY
from tests.builders import NOON
from tests.reconciler.region import ADMIN, Region, a_region

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]
COUNT = 12


@pytest.fixture
async def region(store: str, tmp_path: Path) -> AsyncIterator[Region]:
    async with a_region(tmp_path, store) as region:
        yield region


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many statements there were since the last time that it was asked."""
    asked = 0
    run = database.Engine.run_querystring

    async def counted(*args: Any, **named: Any) -> Any:
        nonlocal asked
        asked += 1
        return await run(*args, **named)

    monkeypatch.setattr(database.Engine, "run_querystring", counted)

    def since() -> int:
        nonlocal asked
        found, asked = asked, 0
        return found

    return since


async def test_quotas_are_listed_with_their_use_and_holders(region: Region, statements: Callable[[], int]) -> None:
    await region.register("v1")
    for number in range(COUNT):
        shape = decode(InstanceTypeSpec, {"cpu_millis": 500, "memory_mib": 1024})
        await machines.put_instance_type(f"t{number:02}", shape, ANY, NOON)
        await quotas.put("acme", f"t{number:02}", QuotaSpec(max_replicas=9), ADMIN, ANY, NOON)
    await region.apply("one", instance_type="t03", replicas=2)
    await region.apply("two", instance_type="t03", replicas=3)
    await region.apply("three", instance_type="t05", replicas=1)
    statements()
    listed = await quotas.page("acme", 50, None)
    assert statements() <= 3
    assert len(listed.items) == COUNT + 2
    for quota in listed.items:
        assert quota == await quotas.get("acme", quota.metadata.name)
    held = {q.metadata.name: [(h.endpoint, h.replicas) for h in q.status.holders] for q in listed.items if q.status.used}
    assert held == {"t03": [("two", 3), ("one", 2)], "t05": [("three", 1)]}
    assert {q.metadata.name: q.status.free for q in listed.items if q.status.used} == {"t03": 4, "t05": 8}


async def test_tokens_are_listed_with_what_their_bindings_add(region: Region, statements: Callable[[], int]) -> None:
    for number in range(COUNT):
        await tokens.put("acme", f"t{number:02}", TokenSpec(roles=[Role.VIEWER]), None, ANY, NOON)
    for name in ("t03", "t04"):
        await credentials.mint("acme", name, CredentialRequest(), None, region.key, "local", NOON)
    await bindings.put("acme", "token:acme:t03", RoleBindingSpec(roles=[Role.INVOKER]), ADMIN, ANY, NOON)
    statements()
    listed = await tokens.page("acme", 50, None, NOON)
    assert statements() <= 3
    for token in listed.items:
        assert token == await tokens.get("acme", token.metadata.name, NOON)
    stale = [token.metadata.name for token in listed.items if not token.status.conditions[0].status]
    assert stale == ["t03"]
