"""`--watch`: a terminal is drawn anew, a pipe is told what is new, and Ctrl-C ends both."""

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import httpx2
import msgspec
import pytest

from fleetform.cli.context import Session
from fleetform.cli.output import Output
from fleetform.cli.replicas import start
from fleetform.cli.watch import watched
from fleetform.domain.replica import Phase, ReplicaPhase, ReplicaView
from fleetform.domain.rollout import RolloutPhase
from fleetform_sdk import types
from tests.cli.conftest import Shell
from tests.cli.test_others import ACME
from tests.cli.test_output import terminal
from tests.sdk import bodies
from tests.sdk.fake_api import problem

REPLICAS = f"{ACME}/endpoints/prod/replicas"


@pytest.fixture
def moments(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Callable[[], object]]]:
    """What happens before each further look; after the last one somebody presses Ctrl-C."""
    found: list[Callable[[], object]] = []

    def sleep(seconds: float) -> None:
        assert seconds > 0
        if not found:
            raise KeyboardInterrupt
        found.pop(0)()

    monkeypatch.setattr(time, "sleep", sleep)
    yield found
    assert found == []


def shows(shell: Shell, *items: Any) -> Callable[[], object]:
    return lambda: shell.api.on("GET", REPLICAS, (200, bodies.page(*items)))


def a_replica(id_: str, **fields: Any) -> Any:
    return {**bodies.replica(id_), **fields}


def test_a_pipe_is_told_a_line_when_it_is_new_and_never_of_age_alone(shell: Shell, moments: list[Callable[[], object]]) -> None:
    shows(shell, a_replica("r-1"), a_replica("r-2", phase="Starting"))()
    moments += [
        shows(shell, a_replica("r-1", age_s=90), a_replica("r-2", phase="Starting", age_s=90)),
        shows(shell, a_replica("r-1", age_s=95), a_replica("r-2", phase="Ready", age_s=95)),
        shows(shell, a_replica("r-2", phase="Ready", age_s=99, in_flight=3)),
    ]
    lines = [line.split("\t") for line in shell("replicas", "--endpoint", "prod", "--watch").stdout.splitlines()]
    assert [(line[0], line[3], line[7]) for line in lines] == [
        ("r-1", "Ready", ""),
        ("r-2", "Starting", ""),
        ("r-2", "Ready", ""),
        ("r-2", "Ready", "3"),
    ]


def test_endpoints_their_events_and_their_rollouts_are_watched_the_same_way(shell: Shell, moments: list[Callable[[], object]]) -> None:
    shell.api.on("GET", f"{ACME}/endpoints", (200, bodies.page(bodies.endpoint(name="prod"))))
    moments.append(
        lambda: shell.api.on("GET", f"{ACME}/endpoints", (200, bodies.page(bodies.endpoint(name="prod"), bodies.endpoint(name="new"))))
    )
    assert [line.split("\t")[0] for line in shell("endpoint", "list", "--watch").stdout.splitlines()] == ["prod", "new"]

    shell.api.on("GET", f"{ACME}/endpoints/prod", (200, bodies.endpoint(replicas=(0, 2))))
    moments.append(lambda: shell.api.on("GET", f"{ACME}/endpoints/prod", (200, bodies.endpoint(replicas=(1, 2)))))
    facts = shell("endpoint", "get", "prod", "--watch").stdout.splitlines()
    assert [line for line in facts if line.startswith("replicas ready")] == ["replicas ready\t0/2", "replicas ready\t1/2"]
    assert len([line for line in facts if line.startswith("name\t")]) == 1

    shell.api.on("GET", f"{ACME}/endpoints/prod/events", (200, bodies.page(bodies.event(1))))
    moments.append(
        lambda: shell.api.on(
            "GET", f"{ACME}/endpoints/prod/events", (200, bodies.page({**bodies.event(2), "message": "r-2 is ready"}, bodies.event(1)))
        )
    )
    assert [line.split("\t")[-1] for line in shell("endpoint", "events", "prod", "--watch").stdout.splitlines()] == [
        "replica r-1 is ready",
        "r-2 is ready",
    ]

    path = f"{ACME}/endpoints/prod/rollouts"
    shell.api.on("GET", path, (200, bodies.page(bodies.rollout())))
    moments += [lambda: None, lambda: shell.api.on("GET", path, (200, bodies.page(bodies.rollout(phase=RolloutPhase.COMPLETED))))]
    lines = shell("endpoint", "rollouts", "prod", "--watch").stdout.splitlines()
    assert [line.split("\t")[1] for line in lines] == ["Running", "Completed"]


@pytest.mark.parametrize("database_only", [False, True])
def test_a_server_that_is_away_for_a_while_is_waited_for(
    shell: Shell, moments: list[Callable[[], object]], monkeypatch: pytest.MonkeyPatch, database_only: bool
) -> None:
    shows(shell, a_replica("r-1"))()
    real = shell.api.handle
    away = False

    def handle(request: httpx2.Request) -> httpx2.Response:
        if away and database_only:
            return httpx2.Response(503, json=problem(503, "unavailable", "the database is away"))
        if away:
            raise httpx2.ConnectError("refused", request=request)
        return real(request)

    def leave() -> None:
        nonlocal away
        away = True

    def come_back() -> None:
        nonlocal away
        away = False
        shows(shell, a_replica("r-1"), a_replica("r-2"))()

    monkeypatch.setattr(shell.api, "handle", handle)
    moments += [leave, *([lambda: None] * 20), come_back]
    assert [line.split("\t")[0] for line in shell("replicas", "--endpoint", "prod", "--watch").stdout.splitlines()] == ["r-1", "r-2"]


def test_a_refusal_ends_a_watch(shell: Shell, moments: list[Callable[[], object]]) -> None:
    shows(shell, a_replica("r-1"))()
    moments.append(lambda: shell.api.on("GET", REPLICAS, (404, problem(404, "not-found", "no endpoint prod"))))
    assert "no endpoint prod" in shell("replicas", "--endpoint", "prod", "--watch", status=1).stderr


def test_json_is_not_watched(shell: Shell) -> None:
    assert "--output json" in shell("replicas", "--endpoint", "prod", "--watch", "--output", "json", status=2).stderr


def test_a_terminal_is_drawn_anew(shell: Shell, moments: list[Callable[[], object]], monkeypatch: pytest.MonkeyPatch) -> None:
    counts = iter(range(10))

    def draw(out: Output) -> None:
        out.rows(("name", "in flight", "empty"), [("r-1", next(counts), "")], [])

    moments += [lambda: None, lambda: None]
    with terminal(monkeypatch) as screen:
        watched(Session(None, Output("table")), True, draw)  # type: ignore[arg-type]  # nothing is asked
    text = screen.getvalue()
    assert [f"r-1   {number}" in text for number in range(4)] == [True, True, True, False]
    assert "NAME" in text
    assert "EMPTY" not in text
    assert "\x1b[" in text, "the cursor goes back"


def test_replicas_show_how_busy_they_are_and_how_their_start_went(shell: Shell) -> None:
    at = bodies.AT
    phases = (
        Phase(name="fetch", started_at=at, ended_at=at + timedelta(seconds=1.24)),
        Phase(name="load", started_at=at, ended_at=at + timedelta(seconds=95)),
    )
    view = ReplicaView(
        id="r-1",
        variant="v1.4",
        model_version="m:v1.4",
        phase=ReplicaPhase.READY,
        host="host-1",
        devices=("GPU-5f0c2a9d-1111-2222-3333-444455556666",),
        age_s=75,
        phases=phases,
        restarts=2,
        in_flight=0,
        kv_usage=0.374,
        memory_mib=2600,
    )
    shows(shell, msgspec.to_builtins(view))()
    line = shell("replicas", "--endpoint", "prod").stdout.rstrip("\n").split("\t")
    assert line[5:12] == ["1m", "2", "0", "37%", "2600 MiB", "GPU-5f0c2a9d", "fetch 1.2s load 1m"]


def test_a_phase_that_runs_says_how_far_it_is() -> None:
    at = bodies.AT
    phases = [
        Phase(name="fetch", started_at=at, done=50, total=200),
        Phase(name="load", started_at=at),
        Phase(name="warm", started_at=at, done=5),
    ]
    found = [msgspec.convert(msgspec.to_builtins(phase), types.Phase) for phase in phases]
    assert start(found, at + timedelta(seconds=3)) == "fetch 25% load 3.0s… warm 3.0s…"
    assert start((), at) == ""
