"""JSON value → Request struct, naming every wrong field at once.

msgspec stops at the first error; a person who sends a spec wants all of them. So structs and maps of structs are walked here,
and each leaf is left to msgspec.
"""

import re
import types
import typing
from typing import Annotated, Any, TypeVar, get_args, get_origin

import msgspec

from fleetform.errors import FieldError, InvalidSpec

T = TypeVar("T", bound=msgspec.Struct)
_AT = re.compile(r" - at `\$(?P<path>.*)`$")


def decode(type_: type[T], value: object, pointer: str = "") -> T:
    """value as type_, or InvalidSpec with every wrong field; pointer is where value stands in the body.

    A struct with a `problems(pointer)` method has its cross-field rules checked too, once its fields are right.
    """
    errors: list[FieldError] = []
    _check(type_, value, pointer, errors)
    if errors:
        raise InvalidSpec(tuple(errors))
    decoded = msgspec.convert(value, type_)
    check = getattr(decoded, "problems", None)
    if check is not None:
        errors.extend(check(pointer))
    if errors:
        raise InvalidSpec(tuple(errors))
    return decoded


def escape(token: str) -> str:
    """token as one reference token of a JSON pointer (RFC 6901)."""
    return token.replace("~", "~0").replace("/", "~1")


def _check(type_: Any, value: object, pointer: str, errors: list[FieldError]) -> None:
    struct = _member(type_, _is_struct)
    if struct is not None and isinstance(value, dict):
        _check_struct(struct, value, pointer, errors)
        return
    mapping = _member(type_, _is_map_of_structs)
    if mapping is not None and isinstance(value, dict):
        key_type, item_type = get_args(mapping)
        for key, item in value.items():
            _check(item_type, item, f"{pointer}/{escape(str(key))}", errors)
        bounds: Any = Annotated[dict[key_type, Any], _limit(type_)]  # type: ignore[valid-type]  # made at run time
        _check_leaf(bounds, value, pointer, errors)
        return
    _check_leaf(type_, value, pointer, errors)


def _check_struct(struct: type[msgspec.Struct], value: dict[str, Any], pointer: str, errors: list[FieldError]) -> None:
    hints = typing.get_type_hints(struct, include_extras=True)
    fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
    for key in value:
        if key not in fields:
            known = ", ".join(sorted(fields))
            errors.append(FieldError(f"{pointer}/{escape(str(key))}", f"unknown field; known here: {known}", "unknown_field"))
    for name, field in fields.items():
        if name in value:
            _check(hints[field.name], value[name], f"{pointer}/{escape(name)}", errors)
        elif field.required:
            errors.append(FieldError(f"{pointer}/{escape(name)}", "required", "required"))


def _check_leaf(type_: Any, value: object, pointer: str, errors: list[FieldError]) -> None:
    try:
        msgspec.convert(value, type_)
    except msgspec.ValidationError as error:
        text = str(error)
        found = _AT.search(text)
        where = _pointer_of(found["path"]) if found else ""
        errors.append(FieldError(pointer + where, text[: found.start()] if found else text, "invalid_value"))
        return
    if _has_nul(value):
        errors.append(FieldError(pointer, "must not contain the character U+0000", "invalid_value"))


def _has_nul(value: object) -> bool:
    """True when some text in value holds U+0000, which no JSONB column can store."""
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(_has_nul(key) or _has_nul(item) for key, item in value.items())
    return isinstance(value, list) and any(_has_nul(item) for item in value)


def _pointer_of(path: str) -> str:
    return "".join(f"/{escape(a or b)}" for a, b in re.findall(r"\.([^.\[\]]+)|\[([^\]]*)\]", path))


def _member(type_: Any, wanted: Any) -> Any:
    """The member of a union (or the type itself) for which wanted is true, else None."""
    if get_origin(type_) is Annotated:
        type_ = get_args(type_)[0]
    members = get_args(type_) if get_origin(type_) in (typing.Union, types.UnionType) else (type_,)
    return next((m for m in members if wanted(m)), None)


def _limit(type_: Any) -> msgspec.Meta:
    """The bounds that Annotated puts on the type, or on a member of the union."""
    members = get_args(type_) if get_origin(type_) in (typing.Union, types.UnionType) else (type_,)
    return next((m.__metadata__[0] for m in members if get_origin(m) is Annotated), msgspec.Meta())


def _is_struct(type_: Any) -> bool:
    return isinstance(type_, type) and issubclass(type_, msgspec.Struct)


def _is_map_of_structs(type_: Any) -> bool:
    origin: object = get_origin(type_)
    return origin is dict and _is_struct(get_args(type_)[1])
