"""What a region has from its first start, and the key of the one who sets it up."""

from collections.abc import Mapping
from datetime import datetime

from fleetform.credentials import SigningKey
from fleetform.domain.access import Role
from fleetform.domain.machine import InstanceTypeSpec
from fleetform.domain.names import ALL_PROJECTS, SYSTEM_PROJECT
from fleetform.domain.project import Credential, CredentialRequest, ProjectSpec, RoleBindingSpec, TokenSpec
from fleetform.settings import Settings
from fleetform.store import credentials, database, machines, projects, specs, tokens
from fleetform.store.tables import InstanceTypeRow, ProjectRow, RoleBindingRow
from fleetform.store.writing import ANY

ADMIN_TOKEN = "admin"  # noqa: S105  # the name of a token, not a secret
ADMIN_TTL_DAYS = 90
CPU_SMALL = InstanceTypeSpec(cpu_millis=500, memory_mib=5120)


async def ensure_region(now: datetime, instance_types: Mapping[str, InstanceTypeSpec] | None = None) -> None:
    """Make the project `system`, the instance type `cpu-small`, and instance_types (of the devices found), where they are missing.

    What exists is left as its administrators have made it.
    """
    if await specs.find(ProjectRow, {"name": SYSTEM_PROJECT}) is None:
        await projects.put(SYSTEM_PROJECT, ProjectSpec(display_name="The region's own"), ANY, now)
    for name, spec in {"cpu-small": CPU_SMALL, **(instance_types or {})}.items():
        if await specs.find(InstanceTypeRow, {"name": name}) is None:
            await machines.put_instance_type(name, spec, ANY, now)


async def mint_admin(settings: Settings, key: SigningKey, now: datetime) -> Credential:
    """A region administrator's key for 90 days: of the token `admin` in `system`, which is bound on `*`. Earlier ones stay."""
    await ensure_region(now)
    await tokens.put(SYSTEM_PROJECT, ADMIN_TOKEN, TokenSpec(roles=[Role.ADMIN], ttl_days=ADMIN_TTL_DAYS), None, ANY, now)
    binding = {"project": ALL_PROJECTS, "principal": credentials.principal_of(SYSTEM_PROJECT, ADMIN_TOKEN)}
    async with database.transaction():
        if await specs.lock(RoleBindingRow, binding) is None:
            await specs.insert(RoleBindingRow, binding, RoleBindingSpec(roles=[Role.ADMIN]), now)
    return await credentials.mint(SYSTEM_PROJECT, ADMIN_TOKEN, CredentialRequest(), None, key, settings.region, now)
