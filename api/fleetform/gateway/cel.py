"""CEL as syntax trees: Envoy's RBAC matcher takes parsed expressions only, and its bootstrap is JSON.

An expression that touches an absent claim is an error, and an error counts as no match: so ALLOW is always the explicit branch
of a matcher, and DENY its default.
"""

import itertools
from typing import Any

Node = dict[str, Any]

JWT_PAYLOAD = ("metadata", "filter_metadata", "envoy.filters.http.jwt_authn", "payload")
"""Where `jwt_authn` leaves the verified claims."""


def text(value: str) -> Node:
    return {"const_expr": {"string_value": value}}


def texts(values: tuple[str, ...]) -> Node:
    return {"list_expr": {"elements": [text(value) for value in values]}}


def path(first: str, *rest: str) -> Node:
    """`first["a"]["b"]…`, which also reaches keys that are no identifiers."""
    node: Node = {"ident_expr": {"name": first}}
    for key in rest:
        node = _call("_[_]", node, text(key)) if "." in key or "-" in key else {"select_expr": {"operand": node, "field": key}}
    return node


def claim(name: str) -> Node:
    return path(*JWT_PAYLOAD, name)


def equal(a: Node, b: Node) -> Node:
    return _call("_==_", a, b)


def unequal(a: Node, b: Node) -> Node:
    return _call("_!=_", a, b)


def contains(collection: Node, item: Node) -> Node:
    return _call("@in", item, collection)


def both(a: Node, b: Node, *more: Node) -> Node:
    node = _call("_&&_", a, b)
    for other in more:
        node = _call("_&&_", node, other)
    return node


def either(a: Node, b: Node) -> Node:
    return _call("_||_", a, b)


def negate(a: Node) -> Node:
    return _call("!_", a)


def numbered(node: Node) -> Node:
    """node with the unique id in every expression that the format asks for."""
    ids = itertools.count(1)

    def walk(value: Any) -> Any:
        if isinstance(value, list):
            return [walk(item) for item in value]
        if not isinstance(value, dict):
            return value
        walked = {key: walk(item) for key, item in value.items()}
        is_expression = any(key.endswith("_expr") for key in value)
        return {"id": next(ids), **walked} if is_expression else walked

    numbered_node: Node = walk(node)
    return numbered_node


def _call(function: str, *args: Node) -> Node:
    return {"call_expr": {"function": function, "args": list(args)}}
