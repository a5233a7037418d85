"""The bootstrap file: private, complete without a running Envoy, and named after what it says."""

import json
import subprocess
from pathlib import Path

import pytest
from msgspec.structs import replace

from fleetform import settings as fleetform_settings
from fleetform.gateway.bootstrap import envoy_argv, write_bootstrap
from fleetform.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return fleetform_settings.load({"FLEETFORM_HOME": str(tmp_path / "home"), "XDG_RUNTIME_DIR": str(tmp_path)})


def test_the_file_is_private_and_envoy_takes_it(settings: Settings) -> None:
    path = write_bootstrap(settings)
    assert path.stat().st_mode & 0o777 == 0o600
    assert str(path) in envoy_argv(settings)
    done = subprocess.run([*envoy_argv(settings), "--mode", "validate"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr


def test_the_command_line_changes_exactly_when_the_bootstrap_does(settings: Settings) -> None:
    assert envoy_argv(settings) == envoy_argv(replace(settings, log_level="debug"))
    changed = replace(settings, max_body_mib=32)
    assert envoy_argv(settings) != envoy_argv(changed)
    first, second = write_bootstrap(settings), write_bootstrap(changed)
    assert first.exists()
    assert second.exists()
    third = write_bootstrap(replace(settings, max_body_mib=64))
    assert sorted(settings.home.glob("gateway/envoy-*.json")) == sorted([second, third])


def test_admin_is_a_private_socket_and_nothing_else_listens(settings: Settings) -> None:
    config = json.loads(write_bootstrap(settings).read_text())
    assert config["admin"]["address"] == {"pipe": {"path": str(settings.envoy_admin_socket), "mode": 0o600}}
    (listener,) = config["static_resources"]["listeners"]
    assert listener["address"]["socket_address"] == {"address": "127.0.0.1", "port_value": settings.gateway_port}
