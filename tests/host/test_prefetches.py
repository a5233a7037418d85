"""A favour: fetched one at a time, once, bounded; over a real worker, and with a cache that is told how its fetches end."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from fleetform.domain.machine import EngineSpec
from fleetform.domain.model import Manifest
from fleetform.domain.protocol import HostReplicaState, Prefetch
from fleetform.errors import SourceAway
from fleetform.host import prefetches
from fleetform.host.prefetches import Prefetches
from tests.builders import a_manifest
from tests.harness.waiting import until
from tests.host.machine import STUB_ARGV, Machine


class Cache:
    """An artifact cache whose fetches end when, and as, they are told to."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.held: set[str] = set()
        self.at_once = 0
        self.most_at_once = 0
        self.go_on = asyncio.Event()
        self.failure: Exception | None = None

    def holds(self, manifest: Manifest) -> bool:
        return manifest.digest in self.held

    async def ensure(
        self, manifest: Manifest, artifact: str, prefixes: tuple[str, ...], on_progress: Callable[[str, int, int], None], *, convert: bool
    ) -> Path:
        assert not convert
        self.begun.append(manifest.digest)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await self.go_on.wait()
        self.at_once -= 1
        on_progress("fetch", 1, 1)
        failure, self.failure = self.failure, None
        if failure is not None:
            raise failure
        self.held.add(manifest.digest)
        return Path("/")


def command(number: int) -> Prefetch:
    manifest = msgspec.structs.replace(a_manifest(), digest=f"{number:064x}")
    return Prefetch(version_uid=f"v{number}", manifest=manifest, artifact="file:///models/m/", prefixes=("file:///models/",))


@pytest.mark.anyio
async def test_one_after_the_other_each_once_and_a_failure_stops_nothing() -> None:
    cache = Cache()
    made = Prefetches(cache)  # type: ignore[arg-type]  # holds and ensure are used
    for number in (1, 2, 2, 3):
        assert made.start(command(number)) == "the artifact will be fetched"
    cache.failure = SourceAway("the bucket does not answer")
    cache.go_on.set()
    assert made.task is not None
    await made.task
    assert cache.begun == [command(number).manifest.digest for number in (1, 2, 3)]
    assert cache.most_at_once == 1
    assert made.start(command(2)) == "the artifact is here already"
    # What failed may be asked for again.
    assert made.start(command(1)) == "the artifact will be fetched"
    await made.task
    assert made.start(command(1)) == "the artifact is here already"


@pytest.mark.anyio
async def test_too_many_are_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefetches, "WAITING_MAX", 2)
    made = Prefetches(Cache())  # type: ignore[arg-type]  # holds and ensure are used
    for number in (1, 2):
        made.start(command(number))
    assert "too many" in made.start(command(3))
    assert made.start(command(2)) == "the artifact will be fetched"
    await made.stop()


def test_a_start_finds_what_was_prefetched_though_its_source_is_gone(worker: Machine) -> None:
    artifact, manifest = worker.model("soon")
    prefixes = (f"file://{worker.root}/models/",)
    result = worker.command(Prefetch(version_uid="v1", manifest=manifest, artifact=artifact, prefixes=prefixes))
    assert result.accepted
    folder = worker.settings.home / "cache" / "models" / manifest.digest
    until("it is in the cache", folder.exists)
    for path in (worker.root / "models" / "soon").iterdir():
        path.unlink()
    from_cache = worker.start_command("r1", artifact, manifest, engine=EngineSpec(argv=STUB_ARGV))
    worker.command(from_cache)
    worker.await_state(HostReplicaState.SERVING)
    again = worker.command(Prefetch(version_uid="v1", manifest=manifest, artifact=artifact, prefixes=prefixes))
    assert again.message == "the artifact is here already"


def test_what_does_not_belong_to_the_project_is_not_fetched(worker: Machine) -> None:
    _, manifest = worker.model("other")
    worker.command(Prefetch(version_uid="v1", manifest=manifest, artifact="file:///etc/", prefixes=(f"file://{worker.root}/models/",)))
    until("it was refused", lambda: "artifact_not_prefetched" in worker.log.read_text())
    assert not (worker.settings.home / "cache" / "models" / manifest.digest).exists()
