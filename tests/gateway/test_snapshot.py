"""What becomes of an update, and what a route may not say."""

import pytest
from msgspec.structs import replace

from fleetform.domain.replica import Tls, Unix
from fleetform.gateway.snapshot import (
    Access,
    Applied,
    EndpointRoute,
    Inconsistent,
    NeedsFull,
    PublishResult,
    RoutingSnapshot,
    SnapshotUpdate,
    Superseded,
    Target,
    TrackRoute,
    TrustedRegion,
    apply,
    judge,
    problems,
)

ACCESS = Access(home=TrustedRegion(region="dha", jwks='{"keys":[]}'))
A = EndpointRoute(project="p", endpoint="a", generation=1, created=1)
B = EndpointRoute(project="p", endpoint="b", generation=1, created=1)
STORED = RoutingSnapshot(epoch=2, version=10, access=ACCESS, routes={"p/a": A})
BAD = replace(A, tracks=(TrackRoute(track="t", version="v", weight=40),))


@pytest.mark.parametrize(
    ("update", "expected"),
    [
        (SnapshotUpdate(epoch=2, version=11, base=10), Applied(epoch=2, version=11)),
        (SnapshotUpdate(epoch=2, version=10, base=9), Applied(epoch=2, version=10, repeated=True)),
        (SnapshotUpdate(epoch=2, version=9, base=8), Superseded(epoch=2, version=10)),
        (SnapshotUpdate(epoch=1, version=99, base=10), Superseded(epoch=2, version=10)),
        (SnapshotUpdate(epoch=2, version=12, base=11), NeedsFull(epoch=2, version=10)),
        (SnapshotUpdate(epoch=3, version=11, base=9), NeedsFull(epoch=2, version=10)),
        (SnapshotUpdate(epoch=3, version=11, base=10), Applied(epoch=3, version=11)),
        (SnapshotUpdate(epoch=3, version=1, base=0, full=True), Applied(epoch=3, version=1)),
        (SnapshotUpdate(epoch=2, version=11, base=10, upsert=(BAD,)), Inconsistent(problems=("p/a: weights sum to 40, not 100",))),
    ],
)
def test_what_becomes_of_an_update(update: SnapshotUpdate, expected: PublishResult) -> None:
    assert judge(STORED, update) == expected


def test_an_update_changes_what_it_names() -> None:
    after = apply(STORED, SnapshotUpdate(epoch=2, version=11, base=10, upsert=(B,), remove=("p/a", "p/never")))
    assert after == RoutingSnapshot(epoch=2, version=11, access=ACCESS, routes={"p/b": B})
    assert STORED.routes == {"p/a": A}


def test_a_full_update_replaces_all_routes_and_keeps_access_unless_it_brings_one() -> None:
    assert apply(STORED, SnapshotUpdate(epoch=2, version=11, base=0, full=True, upsert=(B,))).routes == {"p/b": B}
    assert apply(STORED, SnapshotUpdate(epoch=2, version=11, base=0, full=True)).access == ACCESS


def target(replica_id: str, path: str = "/s") -> Target:
    return Target(replica_id=replica_id, address=Unix(path=path))


@pytest.mark.parametrize(
    ("tracks", "words"),
    [
        ((TrackRoute(track="t", version="v", weight=99),), "weights sum to 99"),
        ((TrackRoute(track="t", version="v", weight=100), TrackRoute(track="t", version="w", weight=0)), "a track stands twice"),
        ((TrackRoute(track="t", version="v", weight=100, targets=(target("r"), target("r"))),), "replica r stands twice"),
        ((TrackRoute(track="t", version="v", weight=100, targets=(target("r", "/" + "x" * 107),)),), "over 107 bytes"),
        (
            (
                TrackRoute(
                    track="t",
                    version="v",
                    weight=100,
                    targets=(Target(replica_id="r", address=Tls(host="h", port=1, identity="i", route_key="k")),),
                ),
            ),
            "another machine",
        ),
    ],
)
def test_routes_that_may_not_be_published(tracks: tuple[TrackRoute, ...], words: str) -> None:
    (found,) = problems(replace(A, tracks=tracks))
    assert words in found


@pytest.mark.parametrize("weights", [(), (0,), (100,), (0, 0), (90, 10), (1, 99, 0)])
def test_routes_that_may(weights: tuple[int, ...]) -> None:
    tracks = tuple(TrackRoute(track=f"t{n}", version="v", weight=weight, targets=(target(f"r{n}"),)) for n, weight in enumerate(weights))
    assert problems(replace(A, tracks=tracks)) == []
