"""Secrets do not reach a log line, by whichever way they come."""

import json
import logging

import pytest
import structlog

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
