"""Log lines: JSON, with names of one style, and without secrets by whichever way they come."""

import ast
import contextlib
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

import fleetform
from fleetform import logs

SECRET = "cd-eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJlLXRoYXQtaXMtc2VjcmV0"


@pytest.fixture(autouse=True)
def _put_logging_back() -> object:
    handlers, level = logging.getLogger().handlers, logging.getLogger().level
    yield
    logging.getLogger().handlers = handlers
    logging.getLogger().setLevel(level)
    structlog.reset_defaults()


def test_our_lines_and_the_libraries_lines_are_json_without_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info")
    structlog.get_logger("ours").info("tried", key=SECRET, deep={"list": [f"Authorization: Bearer {SECRET}"]})
    logging.getLogger("theirs").warning("token=%s", SECRET)
    try:
        raise ValueError(f"bad key {SECRET}")
    except ValueError:
        structlog.get_logger("ours").exception("failed")
    text = capsys.readouterr().err
    lines = [json.loads(line) for line in text.splitlines()]
    assert lines[0]["event"] == "tried"
    assert len(lines) == 3
    assert "ValueError" in lines[2]["exception"]
    assert "signature" not in text
    assert SECRET.rpartition(".")[2] not in text


def events(path: Path) -> Iterator[str]:
    """The first argument of every call of a logger in a module, as it is written."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and re.fullmatch(
            r"(self\.)?_?log\.(debug|info|warning|error|exception|critical)", ast.unparse(node.func)
        ):
            yield ast.unparse(node.args[0])


def test_events_have_names_of_one_style() -> None:
    found = [event for path in sorted(Path(fleetform.__file__).parent.rglob("*.py")) for event in events(path)]
    assert len(found) > 30
    assert [event for event in found if not re.fullmatch(r"'[a-z]+(_[a-z]+)*'", event)] == []


def test_a_full_disk_costs_lines_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("w", buffering=1) as full:
        monkeypatch.setattr("sys.stderr", full)
        logs.configure("info")
        structlog.get_logger("ours").info("tried")
        monkeypatch.undo()
        with contextlib.suppress(OSError):
            full.close()
