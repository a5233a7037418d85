"""Fixtures for every test: a real PostgreSQL for the run, and a fresh database for each test that asks for one."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from fleetform import settings as fleetform_settings
from fleetform.host import postgres
from fleetform.settings import Settings
from fleetform.store import database, migrations
from tests.harness.waiting import until

if TYPE_CHECKING:
    from tests.e2e.real_shop import RealShop

TEMPLATE = "template_fleetform"
SEEDS = 2_000
_GUARD = """
import os, signal, subprocess, sys
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
sys.stdin.read()
child.send_signal(signal.SIGINT)
child.wait()
"""
"""Starts its arguments as a child, and ends it when standard input closes: also when the test run is killed."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seeds", type=int, default=SEEDS, help="How many seeds of the simulation of the reconciler are run.")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def postgres_settings() -> Iterator[Settings]:
    """A real PostgreSQL for the whole run, without fsync. Its databases are made by `fresh_database`."""
    root = Path(tempfile.mkdtemp(prefix="ff-pg-"))
    settings = fleetform_settings.load({"FLEETFORM_HOME": str(root / "home"), "XDG_RUNTIME_DIR": str(root)})
    settings.run.mkdir(mode=0o700, parents=True)
    postgres.prepare(settings)
    words = [sys.executable, "-c", _GUARD, *postgres.argv(settings), "-c", "fsync=off", "-c", "max_connections=200"]
    log = (root / "log").open("wb")
    guard = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=log, stderr=log, cwd="/", env={**os.environ}, start_new_session=True)
    try:
        until("PostgreSQL accepts connections", lambda: _answers(settings), timeout_s=30)
        yield settings
    finally:
        assert guard.stdin is not None
        guard.stdin.close()
        guard.wait(timeout=30)
        log.close()
        shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="session")
def real_shop() -> Iterator["RealShop"]:
    """A project on a whole stack whose engines are vLLM, from a zygote. Its tests leave no endpoint behind: the memory is for the next."""
    from tests.e2e.real_shop import RealShop  # it needs seconds, and few runs need it
    from tests.harness.stack import Stack

    with Stack({"FLEETFORM_ZYGOTE": "on"}) as stack:
        yield RealShop(stack)


@pytest.fixture(scope="session")
async def template_database(postgres_settings: Settings, anyio_backend: str) -> str:
    """The name of a migrated, empty database to copy."""
    await _execute(postgres.url(postgres_settings), f"CREATE DATABASE {TEMPLATE}")
    await migrations.migrate(database_url(postgres_settings, TEMPLATE))
    return TEMPLATE


@pytest.fixture
async def fresh_database(postgres_settings: Settings, template_database: str) -> AsyncIterator[str]:
    """The address of a migrated, empty database of this test's own."""
    name = f"t_{os.urandom(6).hex()}"
    admin = postgres.url(postgres_settings)
    await _execute(admin, f"CREATE DATABASE {name} TEMPLATE {template_database} STRATEGY file_copy")
    yield database_url(postgres_settings, name)
    await _execute(admin, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def store(fresh_database: str) -> AsyncIterator[str]:
    """The tables, bound to a fresh database; its address."""
    await database.connect(fresh_database)
    yield fresh_database
    await database.close()


def database_url(settings: Settings, name: str) -> str:
    """The address of one database of the test's PostgreSQL."""
    return postgres.url(settings).replace(f"/{postgres.DATABASE}?", f"/{name}?")


async def _execute(url: str, sql: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


def _answers(settings: Settings) -> bool:
    pid_file = postgres.data_dir(settings) / "postmaster.pid"
    return postgres.socket_path(settings).exists() and pid_file.read_text().strip().endswith("ready")
