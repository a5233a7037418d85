"""Steps: every one that is declared is passed somewhere, and every passing is of a declared one; what the switch does."""

import ast
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from fleetform import steps
from fleetform.steps import VARIABLE, Step

SOURCE = Path(steps.__file__).parent
PASSES = "from fleetform.steps import Step, step\nfor _ in range(3):\n    step(Step.SPAWNED)\n    print('passed', flush=True)\n"


def uses() -> Counter[str]:
    """Members of Step that the program names outside of steps.py: attribute → how often."""
    found: Counter[str] = Counter()
    for path in SOURCE.rglob("*.py"):
        if path == Path(steps.__file__):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Step":
                found[node.attr] += 1
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "step":
                named = node.args[0]
                assert not isinstance(named, ast.Constant), f"{path}:{node.lineno} passes a step that is not of the registry"
    return found


def test_every_step_is_passed_somewhere_and_nothing_else_is() -> None:
    assert set(uses()) == set(Step.__members__)


def test_names_say_whose_they_are() -> None:
    assert {name.partition(".")[0] for name in Step} == {"server", "host"}
    assert len(set(Step)) == len(Step.__members__)


def run(value: str | None) -> "subprocess.CompletedProcess[str]":
    environment = {name: text for name, text in os.environ.items() if name != VARIABLE} | ({} if value is None else {VARIABLE: value})
    return subprocess.run([sys.executable, "-c", PASSES], env=environment, capture_output=True, text=True, timeout=20, check=False)


def test_without_the_variable_nothing_happens() -> None:
    assert run(None).stdout.count("passed") == 3
    assert run(str(Step.FORGOTTEN)).stdout.count("passed") == 3


@pytest.mark.parametrize(("value", "before"), [("host.spawn.after", 0), ("host.spawn.after:1", 0), ("host.spawn.after:3", 2)])
def test_the_process_dies_at_the_wanted_passing(value: str, before: int) -> None:
    done = run(value)
    assert done.returncode == -signal.SIGKILL
    assert done.stdout.count("passed") == before


def test_a_file_lets_the_process_die_once_for_each_line(tmp_path: Path) -> None:
    file = tmp_path / "crash"
    assert run(str(file)).returncode == 0
    file.write_text("host.spawn.after:2\nhost.spawn.after\n")
    assert run(str(file)).stdout.count("passed") == 1
    assert file.read_text() == "host.spawn.after\n"
    assert run(str(file)).returncode == -signal.SIGKILL
    assert not file.exists()
    assert run(str(file)).returncode == 0


def test_a_step_that_does_not_exist_is_told_at_the_start() -> None:
    done = run("host.spawn.afterwards")
    assert done.returncode == 1
    assert "the steps are server.lease.before_take" in done.stderr


@pytest.mark.parametrize("wish", ["host.spawn.after:2 stop", "host.spawn.after stop"])
@pytest.mark.parametrize("from_file", [True, False])
def test_a_program_can_be_stopped_at_a_step_and_go_on_from_there(tmp_path: Path, wish: str, *, from_file: bool) -> None:
    file = tmp_path / "crash"
    file.write_text(f"{wish}\n")
    words = [sys.executable, "-c", PASSES]
    value = str(file) if from_file else wish
    with subprocess.Popen(words, env={**os.environ, VARIABLE: value}, stdout=subprocess.PIPE, text=True) as program:
        _, status = os.waitpid(program.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        assert file.exists() is not from_file
        program.send_signal(signal.SIGCONT)
        assert program.communicate(timeout=20)[0].count("passed") == 3
