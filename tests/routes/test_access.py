"""Who may call what: every route with every role, from its own project and from another, as the document lists them."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from fleetform.domain.access import INCLUDES, Role
from tests.control_api import VERSION, Api, endpoint_spec

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]
DOCUMENT = yaml.safe_load((Path(__file__).parents[2] / "openapi.yaml").read_text())
OPERATIONS = {
    operation["operationId"]: (method.upper(), path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}
ANYONE = {"list_projects", "list_instance_types", "get_instance_type", "list_engines", "get_engine", "get_region"}
MEMBER = {"get_project"}
REGION = {
    "put_project",
    "delete_project",
    "put_instance_type",
    "delete_instance_type",
    "put_engine",
    "delete_engine",
}
PUBLIC = {"get_health", "get_readiness"}
NEEDS = {
    Role.VIEWER: {
        "list_model_versions",
        "get_model_version",
        "list_endpoints",
        "get_endpoint",
        "list_endpoint_replicas",
        "list_endpoint_events",
        "list_endpoint_rollouts",
        "list_quotas",
        "get_quota",
    },
    Role.DEPLOYER: {"put_endpoint", "delete_endpoint", "get_replica_log"},
    Role.ADMIN: {
        "list_role_bindings",
        "get_role_binding",
        "put_role_binding",
        "delete_role_binding",
        "put_model_version",
        "delete_model_version",
        "put_quota",
        "delete_quota",
        "list_tokens",
        "get_token",
        "put_token",
        "delete_token",
        "create_token_credential",
        "delete_token_credential",
    },
}
BODIES: dict[str, Any] = {
    "put_project": {},
    "put_role_binding": {"roles": ["inference.viewer"]},
    "put_instance_type": {"cpu_millis": 1, "memory_mib": 1},
    "put_engine": {"argv": ["x", "{socket}"]},
    "put_model_version": VERSION,
    "put_endpoint": endpoint_spec(),
    "put_quota": {"max_replicas": 0},
    "put_token": {"roles": ["inference.viewer"]},
}


def test_every_operation_stands_in_exactly_one_list() -> None:
    named = [*ANYONE, *MEMBER, *REGION, *PUBLIC, *(name for names in NEEDS.values() for name in names)]
    assert sorted(named) == sorted(OPERATIONS)


def _allowed(operation: str, role: Role) -> bool:
    if operation in ANYONE | MEMBER | PUBLIC:
        return True
    return any(operation in NEEDS.get(held, set()) for held in INCLUDES[role])


async def _call(api: Api, operation: str, project: str) -> int:
    method, path, _ = OPERATIONS[operation]
    values = {"project": project, "principal": "user:somebody", "instance_type": "cpu-small"}
    for name in ("name", "model", "version", "replica_id", "credential_id"):
        values[name] = f"x{name.replace('_', '')}"
    body = {"spec": BODIES[operation]} if operation in BODIES else ({} if method == "POST" else None)
    return (await api.call(method, path.format(**values), body)).status_code


@pytest.mark.parametrize("role", list(Role))
async def test_each_role_does_what_it_may_and_no_more(api: Api, role: Role) -> None:
    await api.project()
    member = api.as_(await api.key_for("acme", role))
    for operation in sorted(set(OPERATIONS) - PUBLIC):
        status = await _call(member, operation, "acme")
        assert (status != 403) == _allowed(operation, role), (operation, role, status)
        assert status < 500, operation


@pytest.mark.parametrize("role", list(Role))
async def test_another_project_is_not_there(api: Api, role: Role) -> None:
    await api.project("acme")
    await api.project("other")
    stranger = api.as_(await api.key_for("acme", role))
    for operation, (_, path, _) in sorted(OPERATIONS.items()):
        if "{project}" in path:
            for project in ("other", "none"):
                assert await _call(stranger, operation, project) == 404, operation
    names = [project["metadata"]["name"] for project in (await stranger.get("/projects")).json()["items"]]
    assert names == ["acme"]


async def test_without_a_key_every_operation_but_health_is_401(api: Api) -> None:
    nobody = api.as_("")
    for operation in sorted(OPERATIONS):
        status = await _call(nobody, operation, "acme") if operation not in PUBLIC else 401
        assert status == 401, operation


async def test_the_region_is_not_a_project_for_its_members(api: Api) -> None:
    await api.project()
    admin = api.as_(await api.key_for("acme", Role.ADMIN))
    assert (await admin.get("/projects/*/role-bindings")).status_code == 404
    assert (await admin.put("/projects/*/role-bindings/token:acme:t-admin", {"roles": ["inference.admin"]})).status_code == 404
    assert (await admin.get("/projects/*/endpoints")).status_code == 422
    assert (await api.put("/projects/*/role-bindings/token:acme:t-admin", {"roles": ["inference.admin"]})).status_code == 201
    assert (await admin.get("/projects/*/role-bindings")).status_code == 200
    assert (await admin.put("/projects/new", {})).status_code == 201


async def test_whoever_holds_a_role_in_every_project_finds_every_project(api: Api) -> None:
    await api.project("acme")
    await api.project("other")
    viewer = api.as_(await api.key_for("acme", Role.VIEWER))
    assert [item["metadata"]["name"] for item in (await viewer.get("/projects")).json()["items"]] == ["acme"]
    await api.must_put("/projects/*/role-bindings/token:acme:t-viewer", {"roles": ["inference.viewer"]})
    assert (await viewer.get("/projects/other")).status_code == 200
    assert [item["metadata"]["name"] for item in (await viewer.get("/projects")).json()["items"]] == ["acme", "other", "system"]


async def test_a_project_cannot_give_itself_more_quota_or_prefixes(api: Api) -> None:
    await api.project("acme", 4)
    admin = api.as_(await api.key_for("acme", Role.ADMIN))
    assert (await admin.put("/projects/acme", {"artifact_prefixes": ["file:///"]})).status_code == 403
    quota = "/projects/acme/quotas/cpu-small"
    assert (await admin.put(quota, {"max_replicas": 5})).status_code == 403
    assert (await admin.put(quota, {"max_replicas": 3})).status_code == 200
    await api.must_put("/instance-types/cpu-small", {"cpu_millis": 500, "memory_mib": 5120, "self_service_max": 6})
    assert (await admin.put(quota, {"max_replicas": 6})).status_code == 200
    assert (await admin.put(quota, {"max_replicas": 7})).status_code == 403


async def test_nobody_grants_what_they_do_not_hold(api: Api) -> None:
    await api.project()
    await api.must_put("/projects/acme/role-bindings/token:acme:t-deployer", {"roles": ["inference.deployer"]})
    deployer = api.as_(await api.key_for("acme", Role.DEPLOYER))
    assert (await deployer.put("/projects/acme/tokens/x", {"roles": ["inference.viewer"]})).status_code == 403
    assert (await deployer.put("/projects/acme/role-bindings/user:x", {"roles": ["inference.viewer"]})).status_code == 403
