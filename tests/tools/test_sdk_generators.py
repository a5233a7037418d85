"""What the SDK's generators make of a small contract."""

import ast
from pathlib import Path
from typing import Any

import pytest

import sdk_models
import sdk_operations
import sdk_sync

SPEC: dict[str, Any] = {
    "paths": {
        "/healthz": {"get": {"operationId": "get_health", "responses": {"200": {"description": "ok"}}}},
        "/v1/projects/{project}/things/{name}": {
            "parameters": [{"name": "project", "in": "path", "required": True, "schema": {"type": "string"}}],
            "get": {
                "operationId": "getThing",
                "summary": "Get a thing.",
                "parameters": [
                    {"name": "generation", "in": "query", "schema": {"oneOf": [{"type": "null"}, {"type": "integer"}]}},
                    {"name": "If-None-Match", "in": "header", "schema": {"type": "string"}},
                    {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}},
                ],
                "responses": {
                    "200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}}},
                    "404": {"content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}},
                },
            },
            "delete": {
                "operationId": "delete_thing",
                "parameters": [{"$ref": "#/components/parameters/Name"}],
                "responses": {
                    "202": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}}},
                    "204": {"description": "gone"},
                },
            },
        },
        "/v1/metrics": {"get": {"operationId": "get_metrics", "responses": {"200": {"content": {"text/plain": {"schema": {}}}}}}},
    },
    "components": {
        "parameters": {"Name": {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}},
        "schemas": {
            "Colour": {"enum": ["red", "green"]},
            "PartSpec": {"type": "object", "properties": {"size": {"type": "integer", "minimum": 1}}, "additionalProperties": False},
            "ThingSpec": {
                "type": "object",
                "properties": {
                    "colour": {"$ref": "#/components/schemas/Colour"},
                    "parts": {"type": "object", "additionalProperties": {"$ref": "#/components/schemas/PartSpec"}},
                    "async": {"type": "boolean"},
                    "title": {"type": "string", "maxLength": 3},
                },
                "required": ["colour"],
            },
            "Thing": {
                "type": "object",
                "properties": {
                    "spec": {"$ref": "#/components/schemas/ThingSpec"},
                    "secret": {"type": "string"},
                    "at": {"type": "string", "format": "date-time"},
                    "reason": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                    "lines": {"type": "array", "items": {"type": "string"}, "default": []},
                },
                "required": ["spec", "secret", "at"],
            },
            "Problem": {"type": "object", "properties": {"status": {"type": "integer"}}},
        },
    },
}


def classes(text: str) -> dict[str, dict[str, str]]:
    """class → field → annotation with default, as written."""
    found = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.ClassDef):
            fields = [item for item in node.body if isinstance(item, ast.AnnAssign)]
            found[node.name] = {ast.unparse(f.target): ast.unparse(f)[len(ast.unparse(f.target)) + 2 :] for f in fields}
    return found


def test_operations() -> None:
    read = {operation.id: operation for operation in sdk_operations.read(SPEC)}
    assert set(read) == {"get_thing", "delete_thing", "get_metrics"}
    get = read["get_thing"]
    assert [(p.argument, p.type_, p.where) for p in get.parameters] == [
        ("project", "str", "path"),
        ("name", "str", "path"),
        ("generation", "int", "query"),
        ("if_none_match", "str", "header"),
    ]
    assert (get.response, get.may_be_empty, get.has_body) == ("models.Thing", False, False)
    assert (read["delete_thing"].response, read["delete_thing"].may_be_empty) == ("models.Thing", True)
    assert read["get_metrics"].response == "str"


def test_the_module_of_operations_is_python() -> None:
    functions = {
        node.name: ast.unparse(node) for node in ast.parse(sdk_operations.operations(SPEC)).body if isinstance(node, ast.FunctionDef)
    }
    assert "path=f'/v1/projects/{segment(project)}/things/{segment(name)}'" in functions["get_thing"]
    assert "-> Call[models.Thing | None]" in functions["delete_thing"]
    assert "-> Call[str]" in functions["get_metrics"]


@pytest.mark.parametrize("name", ["If-Match", "ifMatch", "if_match"])
def test_snake(name: str) -> None:
    assert sdk_operations.snake(name) == "if_match"


@pytest.mark.timeout(30)
def test_models() -> None:
    """Limits are the API's; an answer may leave out what has a default; a spec tells "left out" from a value; secrets hide."""
    text = sdk_models.models(SPEC)
    made = classes(text)
    assert "class Thing(HidesSecret, kw_only=True)" in text
    assert made["Thing"]["reason"] == "str | None = None"
    assert made["Thing"]["lines"] == "list[str] = field(default_factory=list)"
    assert made["Thing"]["at"] == "datetime"
    assert made["PartSpec"]["size"] == "int | UnsetType = UNSET"
    assert made["ThingSpec"]["async_"].startswith("bool | UnsetType = field(name='async'")
    assert made["ThingSpec"]["title"] == "str | UnsetType = UNSET"
    assert "Colour: TypeAlias = str" in text
    assert text == sdk_models.models(SPEC)


@pytest.mark.timeout(30)
def test_fields_are_those_of_specs() -> None:
    text = sdk_models.fields(SPEC)
    assert "Problem" not in text
    assert "'async': NotRequired[bool]" in text
    assert "PartSpec" in text


def test_the_synchronous_source_has_no_trace_of_the_other(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(
        '"""About."""\n\nimport anyio\n\n\nclass AsyncThing:\n    async def __aenter__(self):\n        await anyio.sleep(1)\n\n'
        "    async def all(self):\n        return [x async for x in self._async.things()]\n"
    )
    ((name, text),) = sdk_sync.synchronous(tmp_path)
    assert name == "a.py"
    ast.parse(text)
    assert "async" not in text.partition("\n")[2]
    assert "await" not in text
    assert "class Thing:" in text
    assert "time.sleep(1)" in text
