"""The base of structs that hold a secret."""

from typing import Any

import msgspec


class HidesSecret(msgspec.Struct):
    """A struct whose `secret` never shows when it is printed or logged; read the attribute to use it."""

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self._shown())
        return f"{type(self).__name__}({shown}, secret=<hidden>)"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return self._shown()

    def _shown(self) -> list[tuple[str, Any]]:
        names = [field.name for field in msgspec.structs.fields(self) if field.name != "secret"]
        return [(name, getattr(self, name)) for name in names]
