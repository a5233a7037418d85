"""Reading and writing rows that hold a spec: the steps that all resources share. A key is column name → value."""

from datetime import datetime
from typing import Any, TypeVar
from uuid import uuid4

import msgspec
from piccolo.columns import And, Column, Where
from piccolo.table import Table

from fleetform.domain.base import Metadata
from fleetform.store import database

S = TypeVar("S", bound=msgspec.Struct)
Row = dict[str, Any]
Key = dict[str, str]


async def find(table: type[Table], key: Key) -> Row | None:
    """The row with that key, or None."""
    found: list[Row] = await table.select().where(_where(table, key)).limit(1)
    return found[0] if found else None


async def lock(table: type[Table], key: Key) -> Row | None:
    """The row with that key, locked until the transaction ends; None: there is none, and nobody else can make it until then."""
    query = table.select().where(_where(table, key)).lock_rows("UPDATE")
    found: list[Row] = await query
    if not found:
        await database.rows("SELECT pg_advisory_xact_lock(hashtextextended({}, 0))", "/".join((table._meta.tablename, *key.values())))
        found = await query
    return found[0] if found else None


async def insert(table: type[Table], key: Key, spec: msgspec.Struct, now: datetime, **columns: Any) -> Row:
    """A new row of generation 1."""
    values = {**key, "uid": uuid4(), "generation": 1, "created_at": now, "spec": database.encode(spec), **columns}
    await table.insert(table(**values))
    return values


async def replace(table: type[Table], row: Row, key: Key, spec: msgspec.Struct, **columns: Any) -> Row:
    """row with another spec and the next generation."""
    values = {"generation": row["generation"] + 1, "spec": database.encode(spec), **columns}
    await update(table, key, **values)
    return {**row, **values}


async def update(table: type[Table], key: dict[str, Any], **columns: Any) -> None:
    """Set columns of the row with that key."""
    await table.update({_column(table, name): value for name, value in columns.items()}).where(_where(table, key))


async def delete(table: type[Table], key: Key) -> None:
    """Remove the row with that key."""
    await table.delete().where(_where(table, key))


async def after(table: type[Table], key: Key, column: str, last: str, count: int) -> list[Row]:
    """At most count rows with that key whose column sorts after last, in its order."""
    by = _column(table, column)
    query = table.select().where(by > last).order_by(by).limit(count)
    found: list[Row] = await (query.where(_where(table, key)) if key else query)
    return found


def metadata(row: Row, name: str, project: str | None = None) -> Metadata:
    """What a row says of its resource."""
    return Metadata(name=name, uid=str(row["uid"]), generation=row["generation"], created_at=row["created_at"], project=project)


def generation(row: Row | None) -> int | None:
    """The generation of a row, if there is one."""
    return None if row is None else int(row["generation"])


def _column(table: type[Table], name: str) -> Column:
    return table._meta.get_column_by_name(name)


def _where(table: type[Table], key: dict[str, Any]) -> Where | And:
    first, *rest = (_column(table, name) == value for name, value in key.items())
    condition: Where | And = first
    for each in rest:
        condition = And(condition, each)
    return condition
