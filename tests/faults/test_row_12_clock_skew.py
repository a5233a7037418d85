"""Row 12: servers whose clocks are an hour fast, are set back meanwhile, or are an hour slow: leases are counted by the database's clock,
events are told in their order, and what is asked for is done at once.
"""

import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import httpx2
import pytest

from fleetform.host import postgres
from tests.faults.two_servers import another, client, declare, spec
from tests.harness.server import Server

pytestmark = [pytest.mark.anyio, pytest.mark.postgres, pytest.mark.timeout(240)]
HOUR_S = 3600
SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static long skew(void) {
    static volatile long long *shared;
    const char *path = getenv("SKEW_FILE");
    if (!shared && path) {
        int file = open(path, O_RDONLY | O_CLOEXEC);
        void *found = file < 0 ? MAP_FAILED : mmap(0, 8, PROT_READ, MAP_SHARED, file, 0);
        if (file >= 0) close(file);
        if (found != MAP_FAILED) shared = found;
    }
    return shared ? (long)*shared : 0;
}
int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int found = real(clock, now);
    if (found == 0 && clock == CLOCK_REALTIME) now->tv_sec += skew();
    return found;
}
time_t time(time_t *at) { struct timespec now; clock_gettime(CLOCK_REALTIME, &now); if (at) *at = now.tv_sec; return now.tv_sec; }
int gettimeofday(struct timeval *at, void *zone) {
    struct timespec now; (void)zone; clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec; at->tv_usec = now.tv_nsec / 1000; return 0;
}
"""
"""Moves the wall clock of whoever is started with it by what its file says, and leaves the monotonic one alone."""


class Skewed(Server):
    """A server, without its PostgreSQL, in a time of its own."""

    def __init__(self, shim: Path, clock: Path) -> None:
        super().__init__()
        self._skewed = {"LD_PRELOAD": str(shim), "SKEW_FILE": str(clock)}

    def start(self) -> None:
        self.variables |= self._skewed
        super().start()


def set_clock(clock: Path, skew_s: int) -> None:
    """Who reads it sees it at once: the file is written in place."""
    with clock.open("r+b" if clock.exists() else "wb") as file:
        file.write(struct.pack("q", skew_s))


@pytest.fixture
def clock(tmp_path: Path) -> Path:
    """How far the server's clock is from the right time; an hour ahead."""
    set_clock(tmp_path / "clock", HOUR_S)
    return tmp_path / "clock"


@pytest.fixture
def server(tmp_path: Path, clock: Path) -> Iterator[Server]:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("`cc` is not installed, which makes the library that moves a process's clock")
    source, shim = tmp_path / "skew.c", tmp_path / "skew.so"
    source.write_text(SHIM)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(shim), str(source), "-ldl"], check=True, timeout=60)
    with Skewed(shim, clock) as running:
        yield running


async def test_row_12_a_clock_that_is_set_back_by_two_hours_changes_nothing(server: Server, clock: Path) -> None:
    connection = await asyncpg.connect(postgres.url(server.settings))
    try:
        async with client(server.base_url, server.token) as http:
            await declare(http, quota=10)
            assert (await http.put("/endpoints/chat", json={"spec": spec()})).status_code == 201
            await _ready(http, 1)
            epoch = await connection.fetchval("SELECT epoch FROM lease")
            before = (await http.get("/endpoints/chat/events")).json()["items"]
            set_clock(clock, -HOUR_S)
            changed = await http.put("/endpoints/chat", json={"spec": spec(scaling={"min_replicas": 2})})
            assert changed.status_code == 200, changed.text
            await _ready(http, 2)
            events = (await http.get("/endpoints/chat/events", params={"limit": 200})).json()["items"]
            newer = events[: len(events) - len(before)]
            assert events[len(newer) :] == before, "in the order in which they came, whatever the clock says"
            assert newer
            assert max(event["at"] for event in newer) < min(event["at"] for event in before), "the clock was set back"
            # Three times as long as a lease is renewed after.
            await connection.fetchval("SELECT pg_sleep(15)")
            assert await connection.fetchval("SELECT epoch FROM lease") == epoch
            assert (await http.put("/endpoints/chat", json={"spec": spec(scaling={"min_replicas": 3})})).status_code == 200
            await _ready(http, 3)
    finally:
        await connection.close()


async def _ready(http: httpx2.AsyncClient, replicas: int) -> None:
    found = (await http.get("/endpoints/chat", params={"wait_for": "ready", "timeout_s": 60})).json()["status"]
    assert (found["ready"], found["replicas"]["ready"]) == (True, replicas), found


async def test_row_12_a_lease_is_counted_by_the_clock_of_the_database(server: Server, clock: Path) -> None:
    connection = await asyncpg.connect(postgres.url(server.settings))
    try:
        async with client(server.base_url, server.token) as http:
            await declare(http, quota=10)
            assert (await http.put("/endpoints/chat", json={"spec": spec()})).status_code == 201
            ready = await http.get("/endpoints/chat", params={"wait_for": "ready", "timeout_s": 30})
            assert ready.json()["status"]["ready"], ready.text
            created = (await http.get("/endpoints/chat")).json()["metadata"]["created_at"]
            skewed = await connection.fetchval("SELECT extract(epoch FROM $1::text::timestamptz - now())", created)
            assert skewed > HOUR_S / 2, "the server does not live in a time of its own"
        epoch = await connection.fetchval("SELECT epoch FROM lease")
        slow = clock.with_name("slow")
        set_clock(slow, -HOUR_S)
        server.variables["SKEW_FILE"] = str(slow)
        with another(server) as second_url:
            # It has tried to take the shard once a second since it started.
            await connection.fetchval("SELECT pg_sleep(5)")
            assert await connection.fetchval("SELECT epoch FROM lease") == epoch, "a slow clock must not end a lease, nor a fast one"
            server.kill()
            async with client(second_url, server.token) as http:
                await http.put("/endpoints/chat", json={"spec": spec(scaling={"min_replicas": 2})})
                ready = await http.get("/endpoints/chat", params={"wait_for": "ready", "timeout_s": 60})
                assert ready.json()["status"]["ready"], ready.text
            assert await connection.fetchval("SELECT epoch FROM lease") == epoch + 1
    finally:
        await connection.close()
