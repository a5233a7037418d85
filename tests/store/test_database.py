"""The way to PostgreSQL: transactions that end well however they end, notifications, migrations."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from fleetform.errors import DatabaseAway, SetupError
from fleetform.host import postgres
from fleetform.store import database, migrations
from fleetform.store.tables import TABLES, LeaseRow
from tests.builders import NOON

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]


def a_row(shard: str) -> LeaseRow:
    return LeaseRow(shard=shard, holder="", epoch=1, expires_at=NOON)


async def test_a_failing_commit_gives_its_connection_back(store: str) -> None:
    await database.rows("CREATE TABLE later (n int UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    for _ in range(database.POOL_MAX + 2):
        with pytest.raises(asyncpg.UniqueViolationError):
            async with database.transaction():
                await database.rows("INSERT INTO later VALUES (1), (1)")
        assert database.current().current_transaction.get() is None
    assert await database.rows("SELECT count(*) AS n FROM later") == [{"n": 0}]
    assert database.current().connections.get_idle_size() == database.current().connections.get_size()


async def test_a_lost_connection_inside_is_database_away_and_the_next_transaction_works(store: str) -> None:
    with pytest.raises(DatabaseAway):
        async with database.transaction():
            await LeaseRow.insert(a_row("half"))
            await _terminate_others(store)
            await database.rows("SELECT 1 AS one")
    async with database.transaction():
        await LeaseRow.insert(a_row("whole"))
    assert [row["shard"] for row in await LeaseRow.select()] == ["whole"]


async def test_a_connection_lost_at_commit_is_database_away(store: str) -> None:
    with pytest.raises(DatabaseAway):
        async with database.transaction():
            await LeaseRow.insert(a_row("half"))
            await _terminate_others(store)
    assert await LeaseRow.count() == 0


async def test_an_error_inside_rolls_back(store: str) -> None:
    with pytest.raises(ZeroDivisionError):
        async with database.transaction():
            await LeaseRow.insert(a_row("half"))
            raise ZeroDivisionError
    assert await LeaseRow.count() == 0


async def test_a_swallowed_error_does_not_pass_for_a_commit(store: str) -> None:
    async def swallow() -> None:
        async with database.transaction():
            await LeaseRow.insert(a_row("half"))
            try:
                await database.rows("SELECT 1 / 0")
            except asyncpg.DivisionByZeroError:
                return

    with pytest.raises(RuntimeError, match="rolled back at COMMIT"):
        await swallow()


async def test_nesting_is_refused(store: str) -> None:
    with pytest.raises(RuntimeError, match="already open"):
        async with database.transaction(), database.transaction():
            pass


async def test_a_cancelled_transaction_leaves_nothing(store: str) -> None:
    inside = asyncio.Event()

    async def work() -> None:
        async with database.transaction():
            await LeaseRow.insert(a_row("half"))
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await LeaseRow.count() == 0


async def test_a_lock_is_not_waited_for_without_end(store: str) -> None:
    other = await asyncpg.connect(store)
    try:
        await other.execute("BEGIN; LOCK TABLE lease")
        with pytest.raises(DatabaseAway):
            async with database.transaction():
                await database.rows("SET LOCAL lock_timeout = '50ms'")
                await LeaseRow.select()
    finally:
        await other.close()


@pytest.fixture
async def heard(store: str) -> AsyncIterator["asyncio.Queue[str]"]:
    queue: asyncio.Queue[str] = asyncio.Queue()
    task = asyncio.create_task(database.listen(store, queue.put_nowait))
    assert await asyncio.wait_for(queue.get(), 10) == ""
    yield queue
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def hanging(fresh_database: str, tmp_path: Path) -> AsyncIterator[asyncio.Event]:
    """While it is set, the database of `through` neither hears nor says anything."""
    event, there = asyncio.Event(), parse_qs(urlsplit(fresh_database).query)["host"][0]
    async with await asyncio.start_unix_server(lambda *ends: _relay(there, event, *ends), tmp_path / f".s.PGSQL.{postgres.PORT}"):
        yield event
        await database.close()


@pytest.fixture
def through(fresh_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a database that can be made to hang. Connecting and waiting for a connection have short limits."""
    monkeypatch.setattr(database, "ACQUIRE_TIMEOUT_S", 0.2)
    monkeypatch.setattr(database, "CONNECT_TIMEOUT_S", 0.2)
    there = parse_qs(urlsplit(fresh_database).query)["host"][0]
    return fresh_database.replace(f"host={there}", f"host={tmp_path}")


async def test_a_database_that_hangs_is_away(hanging: asyncio.Event, through: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "COMMAND_TIMEOUT_S", 0.2)
    await database.connect(through)
    for asked in (lambda: database.rows("SELECT 1 AS one"), lambda: _hang_inside(hanging)):
        hanging.set()
        with pytest.raises(DatabaseAway):
            await asked()
        hanging.clear()
        await database.check()


async def test_a_check_is_short_where_a_statement_may_be_long(hanging: asyncio.Event, through: str) -> None:
    await database.connect(through)
    await database.check()
    hanging.set()
    async with asyncio.timeout(database.COMMAND_TIMEOUT_S - 5):
        with pytest.raises(DatabaseAway):
            await database.check()


async def test_what_is_told_in_a_transaction_is_heard_after_it(heard: "asyncio.Queue[str]") -> None:
    async with database.transaction():
        await database.notify("endpoint 1")
        assert heard.empty()
    assert await asyncio.wait_for(heard.get(), 10) == "endpoint 1"


async def test_what_is_rolled_back_is_not_heard(heard: "asyncio.Queue[str]") -> None:
    with pytest.raises(ZeroDivisionError):
        async with database.transaction():
            await database.notify("endpoint 1")
            raise ZeroDivisionError
    async with database.transaction():
        await database.notify("endpoint 2")
    assert await asyncio.wait_for(heard.get(), 10) == "endpoint 2"


async def test_a_lost_listener_comes_back_and_says_so(store: str, heard: "asyncio.Queue[str]") -> None:
    await _terminate_others(store)
    assert await asyncio.wait_for(heard.get(), 10) == ""
    async with database.transaction():
        await database.notify("endpoint 3")
    assert await asyncio.wait_for(heard.get(), 10) == "endpoint 3"


class _Connection:
    """A connection to listen on, which is lost when the test says so."""

    lose: Callable[[object], None]

    def add_termination_listener(self, callback: Callable[[object], None]) -> None:
        self.lose = callback

    async def add_listener(self, _channel: str, _callback: object) -> None:
        return


async def test_a_listener_that_is_ended_when_its_connection_is_lost_ends() -> None:
    connection, queue = _Connection(), asyncio.Queue[str]()
    listening = asyncio.create_task(database._listen_until_lost(connection, queue.put_nowait))  # type: ignore[arg-type]  # two of its methods are used
    assert await queue.get() == ""
    await asyncio.sleep(0)
    connection.lose(connection)
    listening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listening


async def test_telling_outside_a_transaction_is_a_bug(store: str) -> None:
    with pytest.raises(RuntimeError, match="transaction"):
        await database.notify("endpoint 1")


async def test_migrating_again_and_at_once_does_nothing(fresh_database: str) -> None:
    assert set(await asyncio.gather(*(migrations.migrate(fresh_database) for _ in range(4)))) == {()}


async def test_a_newer_database_is_refused(fresh_database: str) -> None:
    connection = await asyncpg.connect(fresh_database)
    await connection.execute("INSERT INTO schema_step (name) VALUES ('9999_newer')")
    await connection.close()
    with pytest.raises(SetupError, match="newer release"):
        await migrations.migrate(fresh_database)


async def test_the_tables_are_what_the_migrations_made(store: str) -> None:
    found = await database.rows(
        "SELECT table_name, column_name, data_type, is_nullable = 'YES' AS optional FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name <> 'schema_step'"
    )
    made = {tuple(row.values()) for row in found}
    columns = [column for table in TABLES for column in table._meta.columns]
    assert made == {(c._meta.table._meta.tablename, c._meta.db_column_name, _type(c.column_type), c._meta.null) for c in columns}


async def test_a_database_that_is_not_there_is_a_setup_error(fresh_database: str) -> None:
    with pytest.raises(SetupError, match="FLEETFORM_DATABASE_URL"):
        await database.connect(fresh_database.replace("/t_", "/none_"))


async def test_nobody_listening_is_database_away() -> None:
    with pytest.raises(DatabaseAway):
        await database.connect("postgresql://fleetform@/fleetform?host=/nonexistent")


def _type(column_type: str) -> str:
    names = {"BIGSERIAL": "bigint", "TIMESTAMPTZ": "timestamp with time zone"}
    return names.get(column_type, column_type.lower())


async def _hang_inside(hanging: asyncio.Event) -> None:
    hanging.clear()
    async with database.transaction():
        await database.rows("SELECT 1 AS one")
        hanging.set()
        await database.rows("SELECT 2 AS two")


async def _relay(folder: str, hanging: asyncio.Event, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Hand what a client says to the PostgreSQL in folder and back; while hanging, what is said is lost."""
    back, forth = await asyncio.open_unix_connection(f"{folder}/.s.PGSQL.{postgres.PORT}")

    async def pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(1 << 16):
            if not hanging.is_set():
                target.write(data)

    try:
        await asyncio.wait(
            {asyncio.ensure_future(pass_on(reader, forth)), asyncio.ensure_future(pass_on(back, writer))}, return_when="FIRST_COMPLETED"
        )
    finally:
        writer.close()
        forth.close()


async def _terminate_others(url: str) -> None:
    connection = await asyncpg.connect(url)
    sql = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    await connection.execute(sql)
    await connection.close()
