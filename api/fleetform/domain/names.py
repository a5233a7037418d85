"""The one rule for names, and references made of them."""

import re

from fleetform.errors import FieldError

NAME_MAX = 63
NAME_PATTERN = r"^[a-z0-9]+([.-][a-z0-9]+)*$"
_NAME = re.compile(r"[a-z0-9]+([.-][a-z0-9]+)*")
_USER = re.compile(r"user:[A-Za-z0-9._@-]{1,128}")

ALL_PROJECTS = "*"
SYSTEM_PROJECT = "system"


def is_name(text: str) -> bool:
    """True when text may name a resource: lower-case words joined by single dots or hyphens, at most 63 characters."""
    return len(text) <= NAME_MAX and _NAME.fullmatch(text) is not None


def is_principal(text: str) -> bool:
    """True for `user:<name>` and `token:<project>:<name>`."""
    kind, _, rest = text.partition(":")
    project, _, token = rest.partition(":")
    return _USER.fullmatch(text) is not None or (kind == "token" and is_name(project) and is_name(token))


def name_error(pointer: str, text: str) -> FieldError | None:
    """The error to report for a name at pointer, or None when it is a good name."""
    if is_name(text):
        return None
    shown = text if len(text) <= NAME_MAX else text[:NAME_MAX] + "…"
    return FieldError(
        pointer,
        f"{shown!r} is not a name: lower-case letters and digits in words joined by '.' or '-', at most {NAME_MAX} characters",
        "invalid_name",
    )


def split_model_ref(ref: str) -> tuple[str, str] | None:
    """`model:version` as (model, version), or None when it is not of that form. A catalogue entry is `catalogue/name:version`."""
    model, colon, version = ref.partition(":")
    bare = model.removeprefix("catalogue/")
    if not colon or not is_name(bare) or not is_name(version):
        return None
    return model, version
