"""What the board shows of a verification: verified, refused with its reason, and tried again while the source is away."""

import asyncio
from collections.abc import Callable
from typing import cast

import msgspec
import pytest

from fleetform.domain.conditions import Reason
from fleetform.domain.model import Manifest
from fleetform.domain.protocol import ArtifactReport, ArtifactState, VerifyArtifact
from fleetform.errors import ArtifactRefused, SourceAway
from fleetform.host import verifications
from fleetform.host.board import Board
from fleetform.host.parts import Artifacts
from fleetform.host.verifications import Verifications
from tests.builders import a_host, a_manifest

pytestmark = pytest.mark.anyio
COMMAND = VerifyArtifact(version_uid="v1", artifact="s3://bucket/m/", prefixes=("s3://bucket/",))


class Cache:
    """An artifact cache whose verifications end as they are told to, in turn."""

    def __init__(self, *outcomes: Manifest | Exception) -> None:
        self.outcomes = list(outcomes)
        self.calls = 0

    async def verify(self, command: VerifyArtifact, on_progress: Callable[[str, int, int], None]) -> Manifest:
        self.calls += 1
        on_progress("verify", 5, 10)
        await asyncio.sleep(0)
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


async def outcome_of(board: Board) -> ArtifactReport:
    """The report once it is not Verifying."""
    since = board.seq
    async with asyncio.timeout(5):
        while board.artifacts["v1"].state is ArtifactState.VERIFYING:
            since = (await board.observe(since, 5)).seq
    return board.artifacts["v1"]


@pytest.fixture
def board() -> Board:
    return Board(a_host())


def verifying(board: Board, cache: Cache) -> Verifications:
    """Verifications that ask this cache: its `verify` is all that they use."""
    return Verifications(board, cast(Artifacts, cache))


async def verified_by(board: Board, cache: Cache) -> ArtifactReport:
    made = verifying(board, cache)
    assert made.start(COMMAND) == "the verification has begun"
    assert made.start(COMMAND) == "the verification runs already"
    return await outcome_of(board)


async def test_a_good_artifact_is_verified_with_its_manifest(board: Board) -> None:
    report = await verified_by(board, Cache(a_manifest("d9")))
    assert report.state is ArtifactState.VERIFIED
    assert report.manifest is not None
    assert report.manifest.digest == "d9"


async def test_a_refused_artifact_carries_the_reason_of_its_condition(board: Board) -> None:
    error = ArtifactRefused("pickle inside", condition_reason=Reason.PICKLE_REFUSED.value)
    report = await verified_by(board, Cache(error))
    assert (report.state, report.reason, report.message) == (ArtifactState.REFUSED, "PickleRefused", "pickle inside")


async def test_a_version_that_was_made_for_newer_software_is_refused_unread(board: Board) -> None:
    cache = Cache(a_manifest())
    verifying(board, cache).start(msgspec.structs.replace(COMMAND, framework="pytorch99.0"))
    report = await outcome_of(board)
    assert (report.state, report.reason) == (ArtifactState.REFUSED, "RuntimeMismatch")
    assert "pytorch 99.0" in report.message
    assert cache.calls == 0


async def test_a_source_that_is_away_is_tried_again(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifications, "RETRY_FIRST_S", 0.01)
    cache = Cache(SourceAway("the bucket does not answer"), ValueError("a bug"), a_manifest("d9"))
    report = await verified_by(board, cache)
    assert report.state is ArtifactState.VERIFIED
    assert cache.calls == 3


@pytest.mark.parametrize("asked_again", [False, True], ids=["", "later when it is asked for meanwhile"])
async def test_one_whose_source_stays_away_is_dropped(asked_again: bool, board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    """The version may have been deleted, which no server tells. One that still wants it finds it gone, and asks again."""
    monkeypatch.setattr(verifications, "RETRY_FIRST_S", 0.001)
    cache = Cache(*[SourceAway("the bucket does not answer")] * 100)
    made = verifying(board, cache)
    verify = cache.verify

    async def verify_at(command: VerifyArtifact, on_progress: Callable[[str, int, int], None]) -> Manifest:
        """A third of the time passes with each try."""
        monkeypatch.setattr(verifications, "_now", lambda: cache.calls * verifications.WANTED_S / 3)
        if asked_again and cache.calls == 1:
            assert made.start(command) == "the verification runs already"
        return await verify(command, on_progress)

    monkeypatch.setattr(cache, "verify", verify_at)
    monkeypatch.setattr(verifications, "_now", lambda: 0.0)
    made.start(COMMAND)
    seen = board.report(0).seq
    async with asyncio.timeout(5):
        await asyncio.wait(made.tasks.values())
    report = board.report(seen)
    assert report.full, "a reader that knows it is told that it is gone"
    assert report.artifacts == ()
    assert not made.knows("v1")
    assert cache.calls == (4 if asked_again else 3)
    cache.outcomes = [a_manifest("d9")]
    assert made.start(COMMAND) == "the verification has begun"
    assert (await outcome_of(board)).state is ArtifactState.VERIFIED


async def test_progress_is_shown(board: Board) -> None:
    shown: list[tuple[int, int]] = []
    put = board.put_artifact

    def watch(report: ArtifactReport) -> None:
        shown.append((report.done, report.total))
        put(report)

    board.put_artifact = watch  # type: ignore[method-assign]  # this test's board alone
    await verified_by(board, Cache(a_manifest()))
    assert (5, 10) in shown
