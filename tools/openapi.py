"""`python tools/openapi.py` prints openapi.yaml as the routes have it; `--check` fails when the committed file differs."""

import sys
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import yaml

from fleetform import credentials, settings
from fleetform.domain.load import HostLoad, Windows
from fleetform.domain.protocol import HostReplica, LogText
from fleetform.errors import NotFound
from fleetform.routes.application import create_app
from fleetform.routes.dependencies import Dependencies
from fleetform.routes.openapi import document
from fleetform.routes.waker import Waker

COMMITTED = Path(__file__).resolve().parents[1] / "openapi.yaml"
HEAD = "# Generated from the routes by tools/openapi.py (make generate). Do not edit.\n"


class Dumper(yaml.SafeDumper):
    """Writes what stands twice twice: no anchors."""

    def ignore_aliases(self, data: object) -> bool:
        return True


class NoLogs:
    """Nothing runs here."""

    async def read(self, replica_id: str, host: str | None, lines: int) -> LogText:
        raise NotFound(f"no log of {replica_id}")


class NoLoads:
    """Nothing is measured here."""

    async def read(self) -> tuple[HostLoad, ...]:
        return ()

    async def recent(self, window_s: float) -> tuple[dict[str, Windows], ...]:
        return ()

    async def replicas(self, hosts: Mapping[str, str]) -> dict[str, HostReplica]:
        return {}


def text() -> str:
    """openapi.yaml as it must be."""
    with tempfile.TemporaryDirectory() as home:
        loaded = settings.load({"FLEETFORM_HOME": home})
        key = credentials.load_or_create(loaded.signing_key)
        deps = Dependencies(settings=loaded, key=key, logs=NoLogs(), loads=NoLoads(), waker=Waker(), now=lambda: datetime.now(UTC))
        drawn = document(create_app(deps))
    return HEAD + yaml.dump(drawn, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120)


def main() -> int:
    if "--check" not in sys.argv[1:]:
        sys.stdout.write(text())
        return 0
    if COMMITTED.read_text() == text():
        return 0
    print("openapi.yaml is not what the routes say: run `make generate` and commit it", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
