"""The data types of the Python SDK, from openapi.yaml: structs for what is read, typed dictionaries for what is written.

Limits, patterns and enumerations are left out: the API judges a value, in words that name the field, and an SDK must be able to
read a word or a number that a newer server says.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HEADER = '"""Generated from openapi.yaml by `make generate`; do not edit."""\n\n'
HIDING_BASE = "fleetform_sdk._secrets.HidesSecret"
CODEGEN = (
    "--input-file-type=openapi",
    "--openapi-scopes=schemas",
    "--target-python-version=3.11",
    "--disable-timestamp",
    "--disable-future-imports",
    "--use-standard-collections",
    "--use-union-operator",
    "--output-datetime-class=datetime",
    "--no-formatters",
)
JUDGED_BY_THE_API = frozenset(
    {
        "additionalProperties",
        "enum",
        "exclusiveMaximum",
        "exclusiveMinimum",
        "maxItems",
        "maxLength",
        "maxProperties",
        "maximum",
        "minItems",
        "minLength",
        "minProperties",
        "minimum",
        "pattern",
        "title",
        "uniqueItems",
    }
)


def models(spec: dict[str, Any]) -> str:
    """The module of structs, one for each schema."""
    schemas = {name: _without_limits(schema) for name, schema in spec["components"]["schemas"].items()}
    bases = {name: HIDING_BASE for name, schema in schemas.items() if "secret" in schema.get("properties", {})}
    base_classes = f"--base-class-map={json.dumps(bases)}"
    text = _codegen(schemas, "--output-model-type=msgspec.Struct", "--keyword-only", "--use-schema-description", base_classes)
    return HEADER + _with_plain_defaults(text)


def fields(spec: dict[str, Any]) -> str:
    """The module of typed dictionaries, one for each schema that is part of a request's spec."""
    schemas = {name: _without_limits(schema) for name, schema in spec["components"]["schemas"].items()}
    roots = {name for name in schemas if name.endswith("Spec")}
    kept = {name: schema for name, schema in schemas.items() if name in _reachable(roots, schemas)}
    return HEADER + _codegen(kept, "--output-model-type=typing.TypedDict", "--use-schema-description")


def _without_limits(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_limits(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "properties":
            kept[key] = {name: _without_limits(property_) for name, property_ in value.items()}
        elif key not in JUDGED_BY_THE_API or (key == "additionalProperties" and isinstance(value, dict)):
            kept[key] = _without_limits(value)
    if "enum" in schema:
        kept.setdefault("type", "string")
    return kept


def _with_plain_defaults(text: str) -> str:
    """A field that an answer may leave out is None, or its default; only a spec tells "left out" from a value."""
    text = re.sub(r" \| None \| UnsetType = UNSET", " | None = None", text)
    return re.sub(r" \| UnsetType = (?!UNSET|field\(name=)", " = ", text)


def _reachable(roots: set[str], schemas: dict[str, Any]) -> set[str]:
    found: set[str] = set()
    waiting = sorted(roots)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(schemas[name])))
    return found


def _codegen(schemas: dict[str, Any], *options: str) -> str:
    document = {"openapi": "3.1.0", "info": {"title": "", "version": ""}, "paths": {}, "components": {"schemas": schemas}}
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "openapi.json"), Path(folder, "out.py")
        source.write_text(json.dumps(document))
        command = [sys.executable, "-m", "datamodel_code_generator", f"--input={source}", f"--output={target}", *CODEGEN, *options]
        subprocess.run(command, check=True, cwd=folder)
        text = target.read_text()
    return re.sub(r"\A(#.*\n)+\n*", "", text)
