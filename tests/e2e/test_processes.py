"""Every program of a machine may be killed alone; the others live on, and the killed one comes back."""

import json
from collections.abc import Iterator

import httpx2
import pytest

from fleetform.gateway.bootstrap import hot_restart_memory
from fleetform.host import records
from fleetform.settings import load
from tests.harness.stack import Stack
from tests.harness.waiting import until

pytestmark = [pytest.mark.envoy, pytest.mark.postgres, pytest.mark.timeout(240)]
PROGRAMS = {
    "supervisor": "fleetform host supervisor",
    "worker": "fleetform host worker",
    "activator": "fleetform host activator",
    "server": "fleetform server",
    "envoy": "envoy --config-path",
    "postgres": "postgres -D",
}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with Stack() as running:
        yield running


def pids(stack: Stack) -> dict[str, int]:
    """One pid a program; AssertionError while one of them is missing."""
    found = {name: list(stack.processes(words)) for name, words in PROGRAMS.items()}
    assert all(found.values()), found
    return {name: min(several) for name, several in found.items()}


def serves(stack: Stack) -> bool:
    """The control API knows us, and the gateway refuses a stranger in its own words."""
    environment = stack.environment
    try:
        mine = httpx2.get(
            f"{environment['FLEETFORM_BASE_URL']}/v1/region", headers={"authorization": f"Bearer {environment['FLEETFORM_TOKEN']}"}
        )
        strange = httpx2.get(f"{environment['OPENAI_BASE_URL']}/models", headers={"authorization": "Bearer cd-none"})
    except httpx2.HTTPError:
        return False
    return mine.status_code == 200 and strange.status_code == 401 and "code" in strange.json()["error"]


@pytest.mark.parametrize("name", ["server", "worker", "activator"])
def test_every_line_of_a_log_is_json(stack: Stack, name: str) -> None:
    until("everything serves", lambda: serves(stack))
    lines = (stack.home / "logs" / f"{name}.log").read_text().splitlines()
    assert lines
    for line in lines:
        assert {"event", "level", "timestamp"} <= json.loads(line).keys(), line


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_killed_program_comes_back_by_itself_and_takes_no_other_with_it(stack: Stack, name: str) -> None:
    before = until("every program runs", lambda: pids(stack))
    stack.kill(PROGRAMS[name])
    after = until(f"{name} is back", lambda: pids(stack), timeout_s=40)
    until("everything serves", lambda: serves(stack), timeout_s=40)
    assert {other for other in PROGRAMS if before[other] != after[other]} == {name}


def test_with_both_halves_of_the_host_process_gone_up_takes_over_what_runs(stack: Stack) -> None:
    before = until("every program runs", lambda: pids(stack))
    stack.kill("fleetform host")
    assert serves(stack)
    stack.up()
    after = until("every program runs again", lambda: pids(stack), timeout_s=40)
    assert {name for name in PROGRAMS if before[name] != after[name]} == {"supervisor", "worker", "activator"}
    assert serves(stack)


def test_up_again_restarts_nothing(stack: Stack) -> None:
    before = until("every program runs", lambda: pids(stack))
    stack.up()
    assert pids(stack) == before


def test_down_leaves_no_process_and_no_socket_and_up_finds_its_data(stack: Stack) -> None:
    stack.fleetform("project", "create", "--name", "kept")
    shared = hot_restart_memory(load(stack.variables))
    assert shared.exists()
    stack.fleetform("down")
    assert stack.processes() == {}
    assert not stack.run.exists() or list(stack.run.iterdir()) == []
    assert not shared.exists()
    stack.up()
    assert "kept" in stack.fleetform("project", "list")


def test_up_and_down_do_not_cross_each_other(stack: Stack) -> None:
    with records.locked(stack.home / "host" / "up.lock") as held:
        assert held
        assert "is at work" in stack.fleetform("down", fails=True)
        assert "is at work" in stack.fleetform("up", "--detach", fails=True)
    assert pids(stack)
