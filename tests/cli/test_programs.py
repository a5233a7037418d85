"""What the supervisor is told: the same settings give the same files, and a change reaches only the programs that see it."""

import importlib.util
import json
import os
import stat
from pathlib import Path

import pytest

from fleetform import settings
from fleetform.cli import programs
from fleetform.errors import SetupError
from fleetform.settings import Settings

SHELL = {"PATH": "/somewhere/odd", "FLEETFORM_TOKEN": "cd-secret", "AWS_ACCESS_KEY_ID": "id", "EDITOR": "ed"}


def loaded(home: Path, **variables: str) -> tuple[Settings, dict[str, str]]:
    environ = {**SHELL, "FLEETFORM_HOME": str(home), **variables}
    return settings.load(environ), environ


def written(home: Path) -> dict[str, str]:
    return {path.stem: path.read_text() for path in (home / "host" / "children").glob("*.json")}


@pytest.mark.parametrize(
    ("change", "seen_by"),
    [
        ({}, set()),
        ({"PATH": "/another/shell", "TERM": "vt100"}, set()),
        ({"AWS_REGION": "bd-dha-1"}, {"worker"}),
        ({"FLEETFORM_LOG_LEVEL": "debug"}, {"server", "worker", "activator"}),
    ],
    ids=["nothing", "another shell", "credentials for storage", "a setting"],
)
def test_a_change_restarts_only_what_sees_it(tmp_path: Path, change: dict[str, str], seen_by: set[str]) -> None:
    programs.write_all(*loaded(tmp_path))
    before = written(tmp_path)
    changed = programs.write_all(*loaded(tmp_path, **change))
    assert changed == seen_by
    after = written(tmp_path)
    assert before.keys() == after.keys() >= {"postgres", "worker", "activator", "envoy", "server"}
    assert {name for name in after if before[name] != after[name]} == seen_by


def test_other_code_in_the_same_environment_restarts_our_own_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "fleetform"
    (package / "cli" / "__pycache__").mkdir(parents=True)
    (package / "cli" / "up.py").write_text("a = 1\n")
    monkeypatch.setattr(programs, "PACKAGE", package)
    programs.write_all(*loaded(tmp_path))
    (package / "cli" / "__pycache__" / "up.pyc").write_text("compiled")
    assert programs.write_all(*loaded(tmp_path)) == set()
    (package / "cli" / "up.py").write_text("a = 2\n")
    assert programs.write_all(*loaded(tmp_path)) == {"server", "worker", "activator"}
    (package / "cli" / "up.py").rename(package / "up.py")
    assert programs.write_all(*loaded(tmp_path)) == {"server", "worker", "activator"}


def test_an_unchanged_file_is_not_even_written(tmp_path: Path) -> None:
    programs.write_all(*loaded(tmp_path))
    path = tmp_path / "host" / "children" / "server.json"
    inode = path.stat().st_ino
    programs.write_all(*loaded(tmp_path))
    assert path.stat().st_ino == inode


def test_with_a_database_of_ones_own_none_is_started_and_only_the_server_knows_its_address(tmp_path: Path) -> None:
    programs.write_all(*loaded(tmp_path))
    programs.write_all(*loaded(tmp_path, FLEETFORM_DATABASE_URL="postgresql://app:hunter2@db/fleet"))
    files = written(tmp_path)
    assert "postgres" not in files
    assert {name for name, text in files.items() if "hunter2" in text} == {"server"}
    assert json.loads(files["server"])["start_after"] == []


def test_no_clients_key_reaches_a_program_and_no_file_is_open_to_others(tmp_path: Path) -> None:
    programs.write_all(*loaded(tmp_path))
    for path in [*(tmp_path / "host" / "children").glob("*.json"), *(tmp_path / "gateway").glob("envoy*.json")]:
        assert "cd-secret" not in path.read_text()
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


@pytest.fixture
def with_vllm(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: find("json" if name == "vllm" else name))


@pytest.mark.usefixtures("with_vllm")
def test_the_zygote_starts_last_and_is_given_no_more_than_an_engine(tmp_path: Path) -> None:
    programs.write_all(*loaded(tmp_path))
    spec = json.loads(written(tmp_path)["zygote"])
    assert spec["start_after"] == [str(programs.served_mark(settings.load({"FLEETFORM_HOME": str(tmp_path)})))]
    assert not {name for name in spec["env"] if name.startswith(("AWS_", "FLEETFORM_", "EDITOR"))}
    assert spec["env"]["HOME"].startswith(str(tmp_path))


@pytest.mark.usefixtures("with_vllm")
@pytest.mark.parametrize("variable", [{"FLEETFORM_ZYGOTE": "off"}, {"FLEETFORM_DRIVER": "fake"}])
def test_no_zygote_where_none_is_wanted(tmp_path: Path, variable: dict[str, str]) -> None:
    programs.write_all(*loaded(tmp_path))
    assert programs.write_all(*loaded(tmp_path, **variable)) >= {"zygote"}
    assert "zygote" not in written(tmp_path)


def test_a_switch_is_on_or_off(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="FLEETFORM_ZYGOTE is 'no'; it must be 'on' or 'off'"):
        loaded(tmp_path, FLEETFORM_ZYGOTE="no")


def test_command_lines_tell_whose_they_are(tmp_path: Path) -> None:
    ours, environ = loaded(tmp_path)
    lines = {spec["name"]: " ".join(spec["argv"]) for spec in programs.specs(ours, environ)}
    assert "/fleetform server" in lines["server"]
    assert "/fleetform host worker" in lines["worker"]
    assert "/fleetform host supervisor --home" in " ".join(programs.supervisor_argv(ours))
    assert all(line.startswith(os.sep) for line in lines.values())


def test_a_shell_that_says_nothing_finds_the_settings_in_force(tmp_path: Path) -> None:
    given = {"FLEETFORM_API_PORT": "1234", "FLEETFORM_DATABASE_URL": "postgresql://app@db/fleet", "FLEETFORM_REGION": "bd-dha-1"}
    ours, environ = loaded(tmp_path, **given)
    programs.write_all(ours, environ)
    assert programs.in_force(loaded(tmp_path)[0]) == ours


def test_before_the_first_start_the_shell_decides(tmp_path: Path) -> None:
    ours, _ = loaded(tmp_path, FLEETFORM_API_PORT="1234")
    assert programs.in_force(ours) == ours
