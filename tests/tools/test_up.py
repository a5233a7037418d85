"""`make up` on a machine that is not fit: one sentence with the remedy, and nothing is changed."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.ports import free_ports

ROOT = Path(__file__).resolve().parents[2]


def make_up(home: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    """`tools/up.py` as the Makefile starts it, for a home that does not exist yet."""
    environ = {"HOME": str(home.parent), "PATH": os.environ["PATH"], "FLEETFORM_HOME": str(home), **variables}
    return subprocess.run(
        [sys.executable, "-B", "tools/up.py"], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
    )


def a_program(folder: Path, name: str, text: str) -> str:
    """A folder for PATH with one program in it, which prints text."""
    folder.mkdir(exist_ok=True)
    program = folder / name
    program.write_text(f"#!/bin/sh\necho '{text}'\n")
    program.chmod(0o755)
    return str(folder)


def refused(done: "subprocess.CompletedProcess[str]", home: Path, *words: str) -> None:
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    for word in words:
        assert word in done.stderr
    assert not home.exists()
    assert done.stdout == ""


def test_a_port_held_by_a_stranger(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        (other,) = free_ports(1)  # a Fleetform that runs here may hold the usual one
        done = make_up(tmp_path / "home", FLEETFORM_GATEWAY_PORT=str(port), FLEETFORM_API_PORT=str(other))
    refused(done, tmp_path / "home", f"port {port} is held by", f"(pid {os.getpid()})", "FLEETFORM_GATEWAY_PORT")


def test_a_port_that_is_none(tmp_path: Path) -> None:
    refused(make_up(tmp_path / "home", FLEETFORM_API_PORT="http"), tmp_path / "home", "FLEETFORM_API_PORT is 'http'")


def test_no_terraform(tmp_path: Path) -> None:
    done = make_up(tmp_path / "home", PATH=a_program(tmp_path / "bin", "other", ""))
    refused(done, tmp_path / "home", "neither terraform nor tofu was found", "install Terraform 1.11 or newer")


@pytest.mark.parametrize("name", ["terraform", "tofu"])
def test_a_terraform_that_is_too_old(tmp_path: Path, name: str) -> None:
    done = make_up(tmp_path / "home", PATH=a_program(tmp_path / "bin", name, '{"terraform_version": "1.5.7"}'))
    refused(done, tmp_path / "home", f"{tmp_path}/bin/{name} is 1.5.7", "install Terraform 1.11 or newer")


def test_no_python_for_it() -> None:
    done = subprocess.run(["make", "-s", "up", "PYTHON="], cwd=ROOT, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
    assert done.returncode != 0
    assert "No Python 3.11, 3.12 or 3.13 on PATH: install one of them" in done.stderr
