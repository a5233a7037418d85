"""JSON value → Request struct, naming every wrong field at once.

msgspec stops at the first error; a person who sends a spec wants all of them. So structs, maps and lists are walked here, and
each leaf is left to msgspec.
"""

import types
import typing
from collections.abc import Callable
from typing import Annotated, Any, TypeVar, get_args, get_origin

import msgspec

from fleetform.errors import FieldError, InvalidSpec

T = TypeVar("T", bound=msgspec.Struct)


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
    mapping = _member(type_, lambda member: get_origin(member) is dict)
    if mapping is not None and isinstance(value, dict):
        key_type, item_type = get_args(mapping)
        for key, item in value.items():
            _check_leaf(key_type, key, f"{pointer}/{escape(key)}", errors)
            _check(item_type, item, f"{pointer}/{escape(key)}", errors)
        _check_leaf(Annotated[dict[str, Any], _limit(type_)], value, pointer, errors)
        return
    array = _member(type_, lambda member: get_origin(member) is list)
    if array is not None and isinstance(value, list):
        for index, item in enumerate(value):
            _check(get_args(array)[0], item, f"{pointer}/{index}", errors)
        _check_leaf(Annotated[list[Any], _limit(type_)], value, pointer, errors)
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
        errors.append(FieldError(pointer, str(error), "invalid_value"))
        return
    if isinstance(value, str) and "\0" in value:  # which no JSONB column can store
        errors.append(FieldError(pointer, "must not contain the character U+0000", "invalid_value"))
    # `$` also matches before a newline at the end: "batch\n" would pass for one of the words and then be none of them.
    if isinstance(value, str) and value.endswith("\n") and _limit(type_).pattern is not None:
        errors.append(FieldError(pointer, "must not end with a newline", "invalid_value"))


def _member(type_: Any, wanted: Callable[[Any], bool]) -> Any:
    """The member of a union (or the type itself) for which wanted is true, without its bounds; else None."""
    members = (get_args(m)[0] if get_origin(m) is Annotated else m for m in _members(type_))
    return next((m for m in members if wanted(m)), None)


def _limit(type_: Any) -> msgspec.Meta:
    """The bounds that Annotated puts on the type, or on a member of the union."""
    return next((m.__metadata__[0] for m in _members(type_) if get_origin(m) is Annotated), msgspec.Meta())


def _members(type_: Any) -> tuple[Any, ...]:
    return get_args(type_) if get_origin(type_) in (typing.Union, types.UnionType) else (type_,)


def _is_struct(type_: Any) -> bool:
    return isinstance(type_, type) and issubclass(type_, msgspec.Struct)
