"""What a terminal shows, and what a pipe gets."""

import contextlib
import io
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from fleetform.cli.output import Output, age
from fleetform.cli.progress import shown
from fleetform.domain.conditions import ConditionType, Reason
from fleetform_sdk import types
from tests.sdk import bodies

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@contextlib.contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    """Standard output and error are a wide terminal while the block runs."""
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    screen = Terminal()
    with contextlib.redirect_stdout(screen), contextlib.redirect_stderr(screen):
        yield screen


def test_a_terminal_gets_a_table_with_headings(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as screen:
        Output("table").rows(("name", "roles"), [("[bold]rag", ("a", "b")), ("x", None)], [])
    lines = screen.getvalue().splitlines()
    assert "NAME" in lines[0]
    assert "ROLES" in lines[0]
    assert "[bold]rag" in lines[1]
    assert "a,b" in lines[1]


def test_a_terminal_gets_facts_in_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as screen:
        Output("table").one([("name", "prod"), ("instance type", "cpu-small"), ("nothing", None)], msgspec.Struct())
    assert screen.getvalue() == "name           prod\ninstance type  cpu-small\n"


def test_progress_on_a_terminal_is_one_line_that_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    degraded = (ConditionType.DEGRADED, True, Reason.CRASH_LOOP, "ended: [errno 2]")
    endpoint = msgspec.convert(bodies.endpoint(conditions=(degraded,), live={}, replicas=(0, 1)), types.Endpoint)
    with terminal(monkeypatch) as screen, shown("Waiting for prod") as report:
        report(endpoint)
    assert "Waiting for prod: Progressing; 0/1 replicas ready; CrashLoop: ended: [errno 2]" in screen.getvalue()


def test_cells_stay_on_their_line_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    Output("table").rows(("a", "b", "c"), [("one\ttwo\nthree", True, msgspec.UNSET)], [])
    assert capsys.readouterr().out == "one two three\tyes\t\n"


@pytest.mark.parametrize(("ago_s", "shown_as"), [(-5, "0s"), (59, "59s"), (60, "1m"), (7199, "1h"), (200_000, "2d")])
def test_age(ago_s: int, shown_as: str) -> None:
    assert age(NOW - timedelta(seconds=ago_s), NOW) == shown_as
