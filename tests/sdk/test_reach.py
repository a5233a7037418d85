"""Every operation of the contract below /v1 can be reached through a method, in both clients, and every method takes what a spec has."""

import inspect
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import httpx2
import pytest
import yaml

import fleetform_sdk as sdk
from tests.sdk import bodies
from tests.sdk.fake_api import TOKEN

ROOT = Path(__file__).resolve().parents[2]
CONTRACT = yaml.safe_load((ROOT / "openapi.yaml").read_text())

METHODS: dict[str, Callable[[Any], Any]] = {
    "put_endpoint": lambda c: c.endpoints.apply("prod", {}),
    "get_endpoint": lambda c: c.endpoints.get("prod"),
    "list_endpoints": lambda c: c.endpoints.list().all(),
    "delete_endpoint": lambda c: c.endpoints.delete("prod"),
    "list_endpoint_replicas": lambda c: c.endpoints.replicas("prod").all(),
    "list_endpoint_rollouts": lambda c: c.endpoints.rollouts("prod").all(),
    "list_endpoint_events": lambda c: c.endpoints.events("prod").all(),
    "get_replica_log": lambda c: c.endpoints.logs("prod", "r-1", lines=5),
    "put_model_version": lambda c: c.model_versions.apply("m", "v1", artifact="file:///a/", framework="pytorch", runtime="cpu"),
    "get_model_version": lambda c: c.model_versions.get("m", "v1"),
    "list_model_versions": lambda c: c.model_versions.list().all(),
    "delete_model_version": lambda c: c.model_versions.delete("m", "v1"),
    "put_token": lambda c: c.tokens.apply("t", roles=["inference.invoker"]),
    "get_token": lambda c: c.tokens.get("t"),
    "list_tokens": lambda c: c.tokens.list().all(),
    "delete_token": lambda c: c.tokens.delete("t"),
    "create_token_credential": lambda c: c.tokens.mint("t"),
    "delete_token_credential": lambda c: c.tokens.revoke("t", "0123456789abcdef"),
    "put_quota": lambda c: c.quotas.apply("cpu-small", max_replicas=1),
    "get_quota": lambda c: c.quotas.get("cpu-small"),
    "list_quotas": lambda c: c.quotas.list().all(),
    "delete_quota": lambda c: c.quotas.delete("cpu-small"),
    "put_project": lambda c: c.projects.apply("acme"),
    "get_project": lambda c: c.projects.get("acme"),
    "list_projects": lambda c: c.projects.list().all(),
    "delete_project": lambda c: c.projects.delete("acme"),
    "put_role_binding": lambda c: c.role_bindings.apply("user:rahim", roles=["inference.viewer"]),
    "get_role_binding": lambda c: c.role_bindings.get("user:rahim"),
    "list_role_bindings": lambda c: c.role_bindings.list().all(),
    "delete_role_binding": lambda c: c.role_bindings.delete("user:rahim"),
    "put_instance_type": lambda c: c.instance_types.apply("cpu-small", cpu_millis=1, memory_mib=1),
    "get_instance_type": lambda c: c.instance_types.get("cpu-small"),
    "list_instance_types": lambda c: c.instance_types.list().all(),
    "delete_instance_type": lambda c: c.instance_types.delete("cpu-small"),
    "put_engine": lambda c: c.engines.apply("stub", argv=["stub", "{socket}"]),
    "get_engine": lambda c: c.engines.get("stub"),
    "list_engines": lambda c: c.engines.list().all(),
    "delete_engine": lambda c: c.engines.delete("stub"),
    "get_region": lambda c: c.region.get(),
}
ANSWERS: dict[str, Any] = {
    "Endpoint": bodies.endpoint(),
    "ModelVersion": bodies.model_version(),
    "Token": bodies.token(),
    "Credential": bodies.credential(),
    "Quota": bodies.quota(),
    "Project": bodies.project(),
    "RoleBinding": bodies.role_binding(),
    "InstanceType": bodies.instance_type(),
    "Engine": bodies.engine(),
    "LogText": {"replica_id": "r-1", "lines": ["a"]},
    "Region": {"name": "local", "gateway_url": "http://127.0.0.1:7080/v1", "version": "0.1.0"},
}


def operations() -> dict[str, tuple[str, str, dict[str, Any]]]:
    """id → (method, path, operation) of everything below /v1."""
    return {
        operation["operationId"]: (method.upper(), path, operation)
        for path, item in CONTRACT["paths"].items()
        for method, operation in item.items()
        if path.startswith("/v1/")
    }


def answer(operation: dict[str, Any]) -> httpx2.Response:
    """A good answer to operation."""
    status, told = next((int(s), a) for s, a in sorted(operation["responses"].items()) if s.startswith("2"))
    if "content" not in told:
        return httpx2.Response(status)
    schema = told["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    return httpx2.Response(status, json=ANSWERS.get(schema, bodies.page()))


class OneOperation:
    """Answers one operation, and nothing else."""

    def __init__(self, id_: str) -> None:
        self.method, self.path, self.operation = operations()[id_]
        self.reached = 0

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        filled = zip(self.path.split("/"), request.url.raw_path.decode().partition("?")[0].split("/"), strict=True)
        assert request.method == self.method
        assert all(told == came or told.startswith("{") for told, came in filled), (self.path, request.url)
        self.reached += 1
        return answer(self.operation)


def test_each_operation_has_a_method() -> None:
    assert set(METHODS) == set(operations())


@pytest.mark.parametrize("id_", sorted(METHODS))
def test_reached(id_: str) -> None:
    there = OneOperation(id_)
    http = httpx2.Client(transport=httpx2.MockTransport(there))
    METHODS[id_](sdk.Client(TOKEN, base_url="http://api.test", project="acme", http_client=http, max_retries=0))
    assert there.reached == 1


@pytest.mark.anyio
@pytest.mark.parametrize("id_", sorted(METHODS))
async def test_reached_asynchronously(id_: str) -> None:
    there = OneOperation(id_)
    http = httpx2.AsyncClient(transport=httpx2.MockTransport(there))
    await METHODS[id_](sdk.AsyncClient(TOKEN, base_url="http://api.test", project="acme", http_client=http, max_retries=0))
    assert there.reached == 1


def test_the_two_clients_have_the_same_methods() -> None:
    http, async_http = httpx2.Client(), httpx2.AsyncClient()
    sync = sdk.Client(TOKEN, base_url="http://api.test", http_client=http)
    other = sdk.AsyncClient(TOKEN, base_url="http://api.test", http_client=async_http)
    for name in [name for name in vars(sync) if not name.startswith("_") and name != "project"]:
        ours, theirs = (
            {m: inspect.signature(f).parameters.keys() for m, f in inspect.getmembers(getattr(c, name), callable) if not m.startswith("_")}
            for c in (sync, other)
        )
        assert ours == theirs


def test_the_types_are_those_of_the_contract() -> None:
    for name, schema in CONTRACT["components"]["schemas"].items():
        if name.endswith("Spec"):
            hints = get_type_hints(getattr(sdk.fields, name))
            assert set(hints) == set(schema["properties"]), name


def test_versions_agree() -> None:
    project = tomllib.loads((ROOT / "python-sdk" / "pyproject.toml").read_text())["project"]
    assert project["version"] == sdk.__version__
