"""The pytest plugin of `make test-faults` (`-p tests.faults.rows`): which rows have a test, and how each came out.

The last lines of the run tell it. A row without a test makes the run fail, like one whose test fails.
"""

import re
from typing import Any

import pytest

ASKED = (*range(1, 6), 9, *range(12, 17), *range(18, 32), *range(33, 44), *range(45, 48))
_ROW = re.compile(r"test_row_(\d+)")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """One line for every row that is not green, and the count."""
    outcomes = _outcomes(terminalreporter.stats)
    green = [row for row in ASKED if outcomes.get(row) == {"passed"}]
    terminalreporter.section("rows of the fault table")
    for row in ASKED:
        if row not in green:
            terminalreporter.write_line(f"row {row}: {_in_words(outcomes.get(row, set()))}")
    for words in _reasons(terminalreporter.stats):
        terminalreporter.write_line(words)
    terminalreporter.write_line(f"{len(green)} of {len(ASKED)} rows automated and green")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Exit status 1 when a row has no test at all, or none that ran."""
    reporter: Any = session.config.pluginmanager.get_plugin("terminalreporter")
    outcomes = _outcomes(reporter.stats)
    if session.exitstatus == pytest.ExitCode.OK and any("passed" not in outcomes.get(row, set()) for row in ASKED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _outcomes(stats: dict[str, list[Any]]) -> dict[int, set[str]]:
    """Row → how its tests came out. A test that was skipped beside one that passed does not count."""
    found: dict[int, set[str]] = {}
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in stats.get(outcome, []):
            match = _ROW.search(str(getattr(report, "nodeid", "")))
            if match:
                found.setdefault(int(match[1]), set()).add(outcome)
    return {row: how - {"skipped"} if "passed" in how else how for row, how in found.items()}


def _in_words(how: set[str]) -> str:
    if not how:
        return "NO TEST"
    return "FAILED" if how & {"failed", "error"} else "skipped"


def _reasons(stats: dict[str, list[Any]]) -> list[str]:
    """Why tests of rows were skipped, each reason once."""
    found: dict[str, None] = {}
    for report in stats.get("skipped", []):
        match = _ROW.search(str(report.nodeid))
        if match and isinstance(report.longrepr, tuple):
            found[f"row {match[1]}: skipped: {report.longrepr[2].removeprefix('Skipped: ')}"] = None
    return list(found)
