"""The calls of the Python SDK, from openapi.yaml: one function per operation that returns the call as data."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

METHODS = ("get", "put", "post", "patch", "delete")
PYTHON_TYPES = {"string": "str", "integer": "int", "boolean": "bool", "number": "float"}
HEADER = '''"""Generated from openapi.yaml by `make generate`; do not edit."""

from fleetform_sdk._call import Call, given, segment
from fleetform_sdk._generated import models
'''


@dataclass(frozen=True)
class Parameter:
    """name: in the contract. argument: in Python. where: `path`, `query` or `header`."""

    name: str
    argument: str
    where: str
    type_: str
    required: bool


@dataclass(frozen=True)
class Operation:
    """response: the type of a good answer's body as Python source, `None` when it has none."""

    id: str
    method: str
    path: str
    summary: str
    parameters: tuple[Parameter, ...]
    has_body: bool
    response: str
    may_be_empty: bool


def operations(spec: dict[str, Any]) -> str:
    """The module of calls. Operations that need no token (health, the contract itself) are left out: they are for machines."""
    return HEADER + "".join(_function(operation) for operation in read(spec))


def read(spec: dict[str, Any]) -> Iterator[Operation]:
    """The operations of the contract below /v1, in its order."""
    for path, item in spec["paths"].items():
        for method in METHODS:
            if method in item and path.startswith("/v1/"):
                yield _operation(spec, path, method, item[method], item.get("parameters", []))


def snake(name: str) -> str:
    """name as a Python name: `If-Match`, `ifMatch` and `if_match` all become `if_match`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).replace("-", "_").lower()


def _operation(spec: dict[str, Any], path: str, method: str, body: dict[str, Any], shared: list[dict[str, Any]]) -> Operation:
    parameters = tuple(_parameter(_resolved(spec, item)) for item in [*shared, *body.get("parameters", [])])
    good = [_resolved(spec, answer) for status, answer in sorted(body["responses"].items()) if str(status).startswith("2")]
    types = [_response_type(answer) for answer in good]
    return Operation(
        id=snake(body["operationId"]),
        method=method.upper(),
        path=path,
        summary=(body.get("summary") or body["operationId"]).rstrip("."),
        parameters=tuple(sorted(parameters, key=lambda parameter: not parameter.required)),
        has_body="requestBody" in body,
        response=next((type_ for type_ in types if type_ != "None"), "None"),
        may_be_empty="None" in types,
    )


def _parameter(item: dict[str, Any]) -> Parameter:
    schema = item.get("schema", {})
    kind = next(
        (part["type"] for part in [schema, *schema.get("oneOf", []), *schema.get("anyOf", [])] if part.get("type") in PYTHON_TYPES),
        "string",
    )
    return Parameter(item["name"], snake(item["name"]), item["in"], PYTHON_TYPES[kind], item.get("required", False))


def _resolved(spec: dict[str, Any], item: dict[str, Any]) -> dict[str, Any]:
    """item, or what its `$ref` points at."""
    if "$ref" not in item:
        return item
    found: Any = spec
    for part in item["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    assert isinstance(found, dict)
    return found


def _response_type(answer: dict[str, Any]) -> str:
    for media_type, content in answer.get("content", {}).items():
        if not media_type.endswith("json"):
            return "str"
        return f"models.{content['schema']['$ref'].rpartition('/')[2]}"
    return "None"


def _function(operation: Operation) -> str:
    returned = operation.response if not operation.may_be_empty or operation.response == "None" else f"{operation.response} | None"
    parts = [
        f"operation={operation.id!r}",
        f"method={operation.method!r}",
        f"path={_path(operation)}",
        f"response={operation.response}",
        *_given("query", operation),
        *_given("header", operation),
        *(["body=body"] if operation.has_body else []),
    ]
    return f'''

def {operation.id}({_signature(operation)}) -> Call[{returned}]:
    """{operation.summary}."""
    return Call({", ".join(parts)})
'''


def _signature(operation: Operation) -> str:
    arguments = [f"{p.argument}: {p.type_}" if p.required else f"{p.argument}: {p.type_} | None = None" for p in operation.parameters]
    first = arguments[: sum(p.required for p in operation.parameters)]
    body = ["body: object"] if operation.has_body else []
    everything = [*first, *body, *arguments[len(first) :]]
    return "*, " + ", ".join(everything) if everything else ""


def _path(operation: Operation) -> str:
    arguments = {p.name: p.argument for p in operation.parameters if p.where == "path"}
    filled = re.sub(r"\{([^}:]+)(:[^}]*)?\}", lambda found: f"{{segment({arguments[found[1]]})}}", operation.path)
    return f'f"{filled}"' if filled != operation.path else f'"{filled}"'


def _given(where: str, operation: Operation) -> list[str]:
    """The keyword argument of Call that holds the parameters in that place."""
    found = [p for p in operation.parameters if p.where == where]
    if not found:
        return []
    if all(p.name == p.argument for p in found):
        values = ", ".join(f"{p.name}={p.argument}" for p in found)
    else:
        values = "**{" + ", ".join(f"{p.name.lower()!r}: {p.argument}" for p in found) + "}"
    return [f"{'query' if where == 'query' else 'headers'}=given({values})"]
