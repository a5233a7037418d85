"""Row 12: servers whose clocks are an hour fast and an hour slow: leases hold, since they are counted by the database's clock."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from fleetform.host import postgres
from tests.faults.two_servers import another, client, declare, spec
from tests.harness.server import Server

pytestmark = [pytest.mark.anyio, pytest.mark.postgres, pytest.mark.timeout(240)]
HOUR_S = 3600
SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
static long skew(void) { const char *text = getenv("SKEW_S"); return text ? atol(text) : 0; }
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
"""Moves the wall clock of whoever is started with it, and leaves the monotonic one alone."""


class Skewed(Server):
    """A server, without its PostgreSQL, in a time of its own."""

    def __init__(self, shim: Path, skew_s: int) -> None:
        super().__init__()
        self._skewed = {"LD_PRELOAD": str(shim), "SKEW_S": str(skew_s)}

    def start(self) -> None:
        self.variables |= self._skewed
        super().start()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("`cc` is not installed, which makes the library that moves a process's clock")
    source, shim = tmp_path / "skew.c", tmp_path / "skew.so"
    source.write_text(SHIM)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(shim), str(source), "-ldl"], check=True, timeout=60)
    with Skewed(shim, HOUR_S) as running:
        yield running


async def test_row_12_a_lease_is_counted_by_the_clock_of_the_database(server: Server) -> None:
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
        server.variables["SKEW_S"] = str(-HOUR_S)
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
