"""openapi.yaml: it is what the routes say, it is sound, and it has what client generators need."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from openapi_spec_validator import validate

from fleetform.domain.endpoint import EndpointStatus
from fleetform.routes.bodies import EndpointPut, Problem
from fleetform.routes.openapi import schemas

ROOT = Path(__file__).parents[2]
DOCUMENT: dict[str, Any] = yaml.safe_load((ROOT / "openapi.yaml").read_text())


def _operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def test_the_committed_document_is_what_the_routes_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    monkeypatch.delitem(sys.modules, "openapi", raising=False)
    import openapi

    assert openapi.text() == openapi.text(), "the generator is not deterministic"
    assert openapi.text() == (ROOT / "openapi.yaml").read_text(), "run `make generate` and commit openapi.yaml"


def test_it_is_sound() -> None:
    validate(DOCUMENT)


def test_operations_have_names_that_read_as_methods() -> None:
    names = [operation["operationId"] for _, _, operation in _operations()]
    assert len(set(names)) == len(names)
    verbs = {"get": ("get_", "list_"), "put": ("put_",), "post": ("create_",), "delete": ("delete_",)}
    for _, method, operation in _operations():
        assert operation["operationId"].startswith(verbs[method])
        assert operation["summary"]


def test_every_refusal_is_a_problem() -> None:
    for name, response in DOCUMENT["components"]["responses"].items():
        assert list(response["content"]) == ["application/problem+json"], name
        assert response["content"]["application/problem+json"]["schema"] == {"$ref": "#/components/schemas/Problem"}
    for path, _, operation in _operations():
        for status, response in operation["responses"].items():
            assert (int(status) >= 400) == ("$ref" in response), (path, status)


def test_no_schema_is_anonymous() -> None:
    for path, method, operation in _operations():
        contents = [operation.get("requestBody", {}), *operation["responses"].values()]
        for content in (media for each in contents for media in each.get("content", {}).values()):
            assert list(content["schema"]) == ["$ref"], (path, method)
    for name, schema in DOCUMENT["components"]["schemas"].items():
        for field, value in schema.get("properties", {}).items():
            assert "properties" not in value, f"{name}.{field}"
            assert "properties" not in value.get("items", {}), f"{name}.{field}"


def test_what_may_be_left_out_of_a_request_is_simply_not_required() -> None:
    schema = schemas({EndpointPut})["EndpointSpec"]
    assert schema["required"] == ["instance_type", "variants"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["request_timeout_s"] == {"type": "integer", "minimum": 1, "maximum": 3600}
    assert "async" in schema["properties"]


def test_what_we_send_is_whole_and_says_where_it_may_be_null() -> None:
    schema = schemas({EndpointStatus})["EndpointStatus"]
    assert schema["required"] == list(schema["properties"])
    assert schema["properties"]["live"] == {"oneOf": [{"$ref": "#/components/schemas/LiveState"}, {"type": "null"}]}
    assert schemas({Problem})["Problem"]["required"] == ["type", "title", "status", "detail", "instance"]


def test_times_are_times() -> None:
    metadata = DOCUMENT["components"]["schemas"]["Metadata"]["properties"]
    assert metadata["created_at"] == {"type": "string", "format": "date-time"}
    assert metadata["project"] == {"type": ["string", "null"]}
