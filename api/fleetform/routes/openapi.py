"""The API's OpenAPI 3.1 document: Litestar's paths and parameters, msgspec's schemas, and what both leave out, in a stable order.

Litestar's own schemas are replaced: it writes a field that may be left out as a union with nothing, forgets that unknown fields are
refused, and knows no discriminator. Bodies and answers are declared on each handler (see access.route).
"""

import inspect
from collections.abc import Iterator
from datetime import datetime
from typing import Any, get_args

import msgspec
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler

from fleetform.domain.names import NAME_MAX, NAME_PATTERN
from fleetform.routes.access import NAMES, PUBLIC
from fleetform.routes.bodies import Problem

Json = dict[str, Any]
REF = "#/components/schemas/{name}"
PROBLEMS = {
    400: ("BadRequest", "The request or its body is not of a form that could be understood."),
    401: ("Unauthorized", "There is no API key, or one that cannot be believed."),
    403: ("Forbidden", "The role named in the answer is missing."),
    404: ("NotFound", "It is not there, or it is another project's."),
    409: ("Conflict", "Something else stands against it; `type` says what, and the answer names it."),
    412: ("PreconditionFailed", "If-Match or If-None-Match did not hold."),
    413: ("ContentTooLarge", "The body is too large."),
    415: ("UnsupportedMediaType", "The body does not say to be JSON."),
    422: ("UnprocessableContent", "One or more fields are wrong; all of them are named."),
    500: ("InternalServerError", "A bug; the log has it under the id in `instance`."),
    503: ("ServiceUnavailable", "The database or a host is away for a while; Retry-After says how long to wait."),
}
_PRINCIPAL = {
    "type": "string",
    "maxLength": 200,
    "pattern": f"^(user:[A-Za-z0-9._@-]{{1,128}}|token:{NAME_PATTERN[1:-1]}:{NAME_PATTERN[1:-1]})$",
}
_NAME = {"type": "string", "maxLength": NAME_MAX, "pattern": NAME_PATTERN}
_PROJECT_OR_ALL = {"type": "string", "maxLength": NAME_MAX, "pattern": rf"^(\*|{NAME_PATTERN[1:-1]})$"}
_ID = {"type": "string", "maxLength": 64, "pattern": "^[A-Za-z0-9._-]+$"}
_CONDITIONS = (
    ("If-Match", "An entity tag the resource must still have; only its generation counts. Else 412."),
    ("If-None-Match", "`*`: only create, never replace. Else 412."),
)


def document(app: Litestar) -> Json:
    """The document, ready to be written as JSON or YAML; the same bytes for the same routes."""
    drawn = app.openapi_schema.to_schema()
    handlers = {handler.operation_id: handler for handler in _handlers(app)}
    paths = {
        path: {method: _operation(drawn["paths"][path][method], handlers) for method in sorted(drawn["paths"][path])}
        for path in sorted(drawn["paths"])
    }
    types = {t for h in handlers.values() for t in (h.opt["body"], *h.opt["answers"].values()) if t is not None}
    return {
        "openapi": "3.1.0",
        "info": drawn["info"],
        "servers": [{"url": "http://127.0.0.1:7081"}],
        "security": [{"apiKey": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"apiKey": {"type": "http", "scheme": "bearer", "bearerFormat": "cd-<JWT>"}},
            "responses": {name: _problem_response(status, text) for status, (name, text) in PROBLEMS.items()},
            "schemas": schemas(types | {Problem}),
        },
    }


def schemas(types: set[type]) -> Json:
    """The JSON Schemas of types and all they are made of, by name."""
    ordered = sorted(types, key=lambda t: t.__name__)
    _, found = msgspec.json.schema_components(ordered, ref_template=REF)
    by_name = {t.__name__: t for t in _all_structs(ordered)}
    return {name: _schema(found[name], by_name.get(name)) for name in sorted(found)}


def _handlers(app: Litestar) -> Iterator[HTTPRouteHandler]:
    for route in app.routes:
        for handler in getattr(route, "route_handlers", ()):
            if handler.operation_id is not None:
                yield handler


def _operation(drawn: Json, handlers: dict[Any, HTTPRouteHandler]) -> Json:
    handler = handlers[drawn["operationId"]]
    opt = handler.opt
    summary, _, rest = (handler.fn.__doc__ or "").strip().partition(". ")
    made: Json = {"operationId": drawn["operationId"], "tags": drawn["tags"], "summary": summary.rstrip(".")}
    if rest:
        made["description"] = rest
    parameters = [_parameter(p, everywhere=opt.get("everywhere", False)) for p in drawn.get("parameters", ())]
    if _is_conditional(opt):
        parameters += [_condition(name, text) for name, text in _CONDITIONS if opt["body"] or name == "If-Match"]
    if parameters:
        made["parameters"] = sorted(parameters, key=lambda p: (("path", "query", "header").index(p["in"]), p["name"]))
    if opt["body"] is not None:
        made["requestBody"] = {"required": True, "content": {"application/json": {"schema": _ref(opt["body"])}}}
    made["responses"] = _responses(opt)
    if opt["need"] == PUBLIC:
        made["security"] = []
    return made


def _is_conditional(opt: Json) -> bool:
    """A PUT or DELETE of something that has an entity tag."""
    return bool(opt["etag"]) and (opt["body"] is not None or 200 not in opt["answers"])


def _responses(opt: Json) -> Json:
    answers = {str(status): _answer(status, type_, opt["etag"]) for status, type_ in opt["answers"].items() if status < 400}
    problems = [500, 503]
    if opt["need"] != PUBLIC:
        problems += [400, 401, 403, 404, 422]
    if opt["body"] is not None:
        problems += [409, 413, 415]
    if opt["body"] is None and 200 not in opt["answers"]:
        problems += [409]
    if _is_conditional(opt):
        problems += [412]
    refused = {str(status): {"$ref": f"#/components/responses/{PROBLEMS[status][0]}"} for status in problems}
    return dict(sorted({**answers, **refused}.items()))


def _answer(status: int, type_: type | None, has_etag: bool) -> Json:
    texts = {200: "As it is now.", 201: "Made.", 202: "It is being torn down.", 204: "Gone."}
    made: Json = {"description": texts[status]}
    if type_ is not None:
        made["content"] = {"application/json": {"schema": _ref(type_)}}
        if has_etag:
            made["headers"] = {"ETag": {"description": '`"generation-revision"`, strong.', "schema": {"type": "string"}}}
    return made


def _problem_response(status: int, text: str) -> Json:
    made: Json = {"description": text, "content": {"application/problem+json": {"schema": _ref(Problem)}}}
    if status == 503:
        made["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
    return made


def _parameter(drawn: Json, *, everywhere: bool) -> Json:
    name = drawn["name"]
    made: Json = {"name": name, "in": drawn["in"], "required": drawn["in"] == "path"}
    if drawn.get("description"):
        made["description"] = drawn["description"]
    if drawn["in"] != "path":
        made["schema"] = _plain(drawn["schema"])
    elif name == "project" and everywhere:
        made["schema"] = _PROJECT_OR_ALL
    elif name == "principal":
        made["schema"] = _PRINCIPAL
    else:
        made["schema"] = _NAME if name in NAMES else _ID
    return made


def _condition(name: str, text: str) -> Json:
    return {"name": name, "in": "header", "required": False, "description": text, "schema": {"type": "string"}}


def _ref(type_: type) -> Json:
    return {"$ref": REF.format(name=type_.__name__)}


def _plain(schema: Json) -> Json:
    """A parameter's schema without null (left out says it) and with whole bounds as integers."""
    if "oneOf" in schema:
        (schema,) = (member for member in schema["oneOf"] if member.get("type") != "null")
    kept = {key: value for key, value in schema.items() if key not in ("title", "description", "examples")}
    if "enum" in kept:
        kept["enum"] = [value for value in kept["enum"] if value is not None]
        kept["type"] = "string"
    return {key: int(value) if isinstance(value, float) and value.is_integer() else value for key, value in kept.items()}


def _schema(schema: Any, struct: type | None = None) -> Any:
    """schema without titles, with the type of its enums, and with null written the short way where it can be."""
    if isinstance(schema, list):
        return [_schema(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _schema(value) for key, value in schema.items() if key != "title" and value != []}
    if "properties" in schema:
        made["properties"] = {name: _schema(value) for name, value in schema["properties"].items()}
    if "description" in made:
        made["description"] = inspect.cleandoc(made["description"])
    if "enum" in made:
        made = {"type": "string", **made}
    return _nullable(made if struct is None else _of_struct(made, struct))


def _of_struct(schema: Json, struct: type) -> Json:
    """schema with what msgspec does not say: that times are RFC 3339, and that every field of ours is sent, so it is required."""
    if not issubclass(struct, msgspec.Struct):
        return schema
    for field in msgspec.structs.fields(struct):
        if datetime in (field.type, *get_args(field.type)):
            schema["properties"][field.encode_name]["format"] = "date-time"
    if struct.__struct_config__.omit_defaults:
        return schema
    for value in schema["properties"].values():
        value.pop("default", None)
    return {**schema, "required": list(schema["properties"])}


def _nullable(schema: Json) -> Json:
    members = schema.get("anyOf")
    if not isinstance(members, list) or {"type": "null"} not in members or len(members) != 2:
        return schema
    (other,) = (member for member in members if member != {"type": "null"})
    rest = {key: value for key, value in schema.items() if key not in ("anyOf", "default")}
    if isinstance(other.get("type"), str) and "enum" not in other:
        return {**rest, **other, "type": [other["type"], "null"]}
    return {**rest, "oneOf": [other, {"type": "null"}]}


def _all_structs(types: list[type]) -> Iterator[type]:
    seen: set[type] = set()

    def visit(info: Any) -> Iterator[type]:
        if isinstance(info, msgspec.inspect.StructType):
            if info.cls in seen:
                return
            seen.add(info.cls)
            yield info.cls
            for field in info.fields:
                yield from visit(field.type)
        for name in ("type", "item_type", "value_type"):
            inner = getattr(info, name, None)
            if isinstance(inner, msgspec.inspect.Type):
                yield from visit(inner)
        for inner in getattr(info, "types", ()):
            yield from visit(inner)

    for info in msgspec.inspect.multi_type_info(types):
        yield from visit(info)
