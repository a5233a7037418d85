"""The provider's mirror: what Terraform and OpenTofu look for, replaced only when the provider is another one."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

import provider


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the built provider."""
    binary = tmp_path / "built" / provider.BINARY.name
    binary.parent.mkdir()
    binary.write_bytes(b"one")
    monkeypatch.setattr(provider, "BINARY", binary)
    return binary


def placed(home: Path) -> list[Path]:
    return sorted((home / "bin" / "mirror").rglob("terraform-provider-*"))


def test_both_programs_find_it_below_their_own_name(tmp_path: Path, built: Path) -> None:
    config = provider.install(tmp_path / "home")
    folders = [path.relative_to(tmp_path / "home" / "bin" / "mirror").parts for path in placed(tmp_path / "home")]
    assert [parts[0] for parts in folders] == sorted(provider.HOSTNAMES.values())
    assert all(parts[1:-1] == ("fleetform", "fleetform", provider.VERSION, "linux_amd64") for parts in folders)
    named = re.search(r"path\s+= (\".*\")", config.read_text())
    assert named is not None
    assert json.loads(named[1]) == str(tmp_path / "home" / "bin" / "mirror")


def test_the_same_provider_stays_and_another_takes_its_place_as_a_whole(tmp_path: Path, built: Path) -> None:
    home = tmp_path / "home"
    provider.install(home)
    first = [path.stat().st_ino for path in placed(home)]
    provider.install(home)
    assert [path.stat().st_ino for path in placed(home)] == first
    built.write_bytes(b"two")
    with placed(home)[0].open("rb") as running:
        provider.install(home)
        assert running.read() == b"one"
    assert [path.read_bytes() for path in placed(home)] == [b"two", b"two"]


@pytest.mark.terraform
def test_terraform_installs_from_the_mirror_and_asks_nobody(tmp_path: Path, built: Path) -> None:
    built.chmod(0o755)
    config = provider.install(tmp_path / "home")
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "main.tf").write_text('terraform {\n  required_providers { fleetform = { source = "fleetform/fleetform" } }\n}\n')
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TF_CLI_CONFIG_FILE": str(config), "HTTPS_PROXY": "http://127.0.0.1:9"}
    program = str(provider.find_terraform())
    done = subprocess.run([program, "init", "-no-color"], cwd=folder, env=environ, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert f"Installed fleetform/fleetform v{provider.VERSION}" in done.stdout
