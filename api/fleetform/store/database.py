"""The way to PostgreSQL: the pool, our own `transaction()`, notifications, and JSONB text.

Piccolo's own `transaction()` is not used: when COMMIT fails it keeps the connection and stays open, and nested it silently shares
the outer one. Errors of a lost or busy database leave here as DatabaseAway, from every query.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, Final, TypeVar

import asyncpg
import msgspec
import structlog
from piccolo.engine.postgres import PostgresEngine
from piccolo.querystring import QueryString

from fleetform.errors import DatabaseAway, SetupError
from fleetform.steps import Step, step
from fleetform.store.tables import TABLES, ProjectRow

T = TypeVar("T")
CHANNEL: Final = "fleetform"
POOL_MAX = 16
ACQUIRE_TIMEOUT_S = 5.0
CONNECT_TIMEOUT_S = 5.0
COMMAND_TIMEOUT_S = 15.0
SESSION = {
    "application_name": "fleetform",
    "lock_timeout": "5000",
    "statement_timeout": "10000",
    "idle_in_transaction_session_timeout": "30000",
    "timezone": "UTC",
}
"""Bounds on the server's side, in milliseconds: nobody waits for a lock without end, and a lost client's transaction ends."""

_AWAY = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.TransactionRollbackError,
    asyncpg.LockNotAvailableError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    # A connection that is ended just while asyncpg begins something on it: "cannot switch to state …".
    asyncpg.InternalClientError,
)
_REFUSED = (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError)

log = structlog.get_logger(__name__)


class Engine(PostgresEngine):
    """Piccolo's engine with our errors. url: where it connects to."""

    def __init__(self, url: str) -> None:
        super().__init__(config={"dsn": url, "server_settings": SESSION, "timeout": CONNECT_TIMEOUT_S})
        self.url = url

    async def check_version(self) -> None:
        """Instead of Piccolo's blocking connection in a constructor; migrations/ fail by themselves on a PostgreSQL that is too old."""

    async def run_querystring(self, querystring: QueryString, in_pool: bool = True) -> Any:
        self._check_open()
        with away():
            return await super().run_querystring(querystring, in_pool)

    async def run_ddl(self, ddl: str, in_pool: bool = True) -> Any:
        self._check_open()
        with away():
            return await super().run_ddl(ddl, in_pool)

    async def _run_in_pool(self, query: str, args: Sequence[Any] | None = None) -> list["asyncpg.Record"]:
        # asyncpg itself keeps a connection whose statement was given up until the server confirms that, or another time limit is over.
        connection = await self.connections.acquire(timeout=ACQUIRE_TIMEOUT_S)
        try:
            return await connection.fetch(query, *(args or ()))
        except (TimeoutError, asyncpg.InternalClientError, asyncio.CancelledError):
            connection.terminate()
            raise
        finally:
            await self.connections.release(connection)

    @property
    def connections(self) -> "asyncpg.Pool[asyncpg.Record]":
        """The pool; DatabaseAway when it is not open."""
        self._check_open()
        assert self.pool is not None
        return self.pool

    def _check_open(self) -> None:
        # Without a pool, Piccolo would open a connection for every query.
        if self.pool is None:
            raise DatabaseAway("the connection pool is not open")


class OpenTransaction:
    """What Piccolo's queries look for in the engine's context variable."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection


async def connect(url: str, pool_max: int = POOL_MAX) -> None:
    """Open the pool and bind the tables to it.

    DatabaseAway when nobody answers; SetupError when the database is not there or refuses the user.
    """
    engine = Engine(url)
    with away(), _refused():
        await engine.start_connection_pool(
            min_size=1, max_size=pool_max, command_timeout=COMMAND_TIMEOUT_S, max_inactive_connection_lifetime=60.0, reset=_nothing_to_reset
        )
    for table in TABLES:
        table._meta.db = engine


async def close() -> None:
    """Close the pool; what is still open after two seconds is cut."""
    engine = current()
    pool, engine.pool = engine.pool, None
    if pool is None:
        return
    try:
        async with asyncio.timeout(2.0):
            await pool.close()
    except TimeoutError:
        pool.terminate()


def current() -> Engine:
    """The engine that the tables are bound to; DatabaseAway before `connect`."""
    engine = ProjectRow._meta._db
    if not isinstance(engine, Engine):
        raise DatabaseAway("not connected to a database")
    return engine


@contextlib.asynccontextmanager
async def transaction(written: Step | None = None, committed: Step | None = None) -> AsyncIterator[None]:
    """Everything inside is done or nothing is. Not to be nested, and not to be shared with other tasks.

    written, committed: the steps that are passed just before and just after COMMIT.

    DatabaseAway when the connection is lost, also when only the reply to COMMIT is: then the outcome is not known. Whatever happens,
    the connection goes back to the pool or is cut, and the context is as before.
    """
    engine = current()
    if engine.current_transaction.get() is not None:
        raise RuntimeError("a transaction is already open here")
    pool = engine.connections
    with away():
        connection = await pool.acquire(timeout=ACQUIRE_TIMEOUT_S)
    token = engine.current_transaction.set(OpenTransaction(connection))  # type: ignore[arg-type]  # only its connection is used
    clean = False
    try:
        with away():
            await connection.execute("BEGIN")
        try:
            yield
        except Exception:
            clean = await _rolled_back(connection)
            raise
        if written is not None:
            step(written)
        with away():
            await _commit(connection)
        if committed is not None:
            step(committed)
        clean = True
    finally:
        engine.current_transaction.reset(token)
        if not clean:
            with contextlib.suppress(asyncpg.InterfaceError):
                connection.terminate()
        await pool.release(connection)


async def rows(sql: str, *args: Any) -> list[dict[str, Any]]:
    """The rows of one statement; `{}` in sql stands for each of args. Inside `transaction()` it belongs to it."""
    found: Sequence[Any] = await current().run_querystring(QueryString(sql, *args))
    return [dict(row) for row in found]


async def check() -> None:
    """DatabaseAway unless the database answers within a few seconds."""
    with away():
        async with asyncio.timeout(ACQUIRE_TIMEOUT_S):
            await rows("SELECT 1 AS one")


async def notify(payload: str) -> None:
    """Tell every listener once the transaction commits. payload: see store/changes.py."""
    if current().current_transaction.get() is None:
        raise RuntimeError("notify belongs into a transaction")
    await rows("SELECT pg_notify({}, {})", CHANNEL, payload)


async def listen(url: str, callback: Callable[[str], None]) -> None:
    """Call callback with each payload, until cancelled, over a connection of its own that is made anew when it is lost.

    callback("") means that notifications may have been missed: it is called after every connect.
    """
    delay_s = 0.1
    while True:
        try:
            connection = await asyncpg.connect(url, timeout=CONNECT_TIMEOUT_S, server_settings={"application_name": "fleetform-listen"})
        except (*_AWAY, *_REFUSED) as error:
            log.warning("database_listen_failed", error=type(error).__name__, retry_in_s=delay_s)
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, 5.0)
            continue
        delay_s = 0.1
        try:
            await _listen_until_lost(connection, callback)
        finally:
            connection.terminate()


async def _listen_until_lost(connection: "asyncpg.Connection[asyncpg.Record]", callback: Callable[[str], None]) -> None:
    lost = asyncio.Event()
    connection.add_termination_listener(lambda _: lost.set())
    try:
        await connection.add_listener(CHANNEL, lambda _connection, _pid, _channel, payload: callback(str(payload)))
        callback("")
        while not lost.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(20.0):
                    await lost.wait()
                return
            # A peer that vanished without a word is only noticed by asking it.
            await connection.execute("SELECT 1", timeout=CONNECT_TIMEOUT_S)
    except (*_AWAY, asyncpg.InterfaceError):
        return


def encode(value: msgspec.Struct) -> str:
    """value as the text of a JSONB column."""
    return msgspec.json.encode(value).decode()


def decode(type_: type[T], text: str) -> T:
    """The text of a JSONB column as type_."""
    decoder = _DECODERS.get(type_)
    if decoder is None:
        decoder = _DECODERS[type_] = msgspec.json.Decoder(type_)
    decoded: T = decoder.decode(text)
    return decoded


_DECODERS: dict[Any, msgspec.json.Decoder[Any]] = {}


@contextlib.contextmanager
def away() -> Iterator[None]:
    """Errors that mean a lost, restarting or overloaded database leave as DatabaseAway, chained."""
    try:
        yield
    except _AWAY as error:
        raise DatabaseAway(f"the database is away: {type(error).__name__}") from error
    except asyncpg.InterfaceError as error:
        # A connection that the server ends inside a transaction is taken from us by the pool, which calls it "released".
        if not any(word in str(error) for word in ("closed", "closing", "released")):
            raise
        raise DatabaseAway("the connection to the database is closed") from error


@contextlib.contextmanager
def _refused() -> Iterator[None]:
    try:
        yield
    except _REFUSED as error:
        raise SetupError(f"the database refuses us: {error}; check FLEETFORM_DATABASE_URL") from error


async def _commit(connection: Any) -> None:
    # COMMIT of a transaction in which a statement failed answers ROLLBACK, and no error.
    if await connection.execute("COMMIT") != "COMMIT":
        raise RuntimeError("the transaction was rolled back at COMMIT: an error of one of its statements was swallowed")


async def _rolled_back(connection: Any) -> bool:
    """False when the connection cannot be used any more; the server then rolls back by itself."""
    try:
        async with asyncio.timeout(ACQUIRE_TIMEOUT_S):
            await connection.execute("ROLLBACK")
    except (*_AWAY, asyncpg.InterfaceError):
        return False
    return True


async def _nothing_to_reset(_connection: Any) -> None:
    """Instead of asyncpg's round trip after every use: settings, locks and cursors of ours end with the transaction."""
