"""The parts of the planner that are easier to see alone."""

import msgspec
import pytest

from fleetform.domain.conditions import Reason
from fleetform.domain.desired import VersionDesired
from fleetform.domain.machine import Capacity, HostCapacity, Reservation
from fleetform.domain.model import ModelVersionSpec
from fleetform.domain.protocol import ArtifactReport, ArtifactState
from fleetform.domain.rollout import RolloutState
from fleetform.planner import placement, plan_version
from fleetform.planner.backoff import delay_s, spread_s
from fleetform.planner.draft import Draft
from fleetform.planner.model import VersionObserved
from fleetform.planner.tracks import shared_out
from tests.builders import CPU_SHAPE, GPU_SHAPE, a_host, a_manifest, a_track
from tests.planner.world import World


@pytest.mark.parametrize(
    ("count", "weights", "shared"),
    [
        (1, {"a": 100}, {"a": 1}),
        (2, {"a": 90, "b": 10}, {"a": 1, "b": 1}),
        (4, {"a": 90, "b": 10}, {"a": 3, "b": 1}),
        (10, {"a": 90, "b": 10}, {"a": 9, "b": 1}),
        (3, {"a": 50, "b": 50}, {"a": 2, "b": 1}),
        (1, {"a": 50, "b": 50}, {"a": 1, "b": 1}),
        (5, {"a": 34, "b": 33, "c": 33}, {"a": 2, "b": 2, "c": 1}),
        (2, {"a": 100, "b": 0}, {"a": 2}),
        (3, {}, {}),
    ],
)
def test_replicas_are_shared_by_largest_remainder_each_track_at_least_one(
    count: int, weights: dict[str, int], shared: dict[str, int]
) -> None:
    assert shared_out(count, weights) == shared


def test_pauses_are_those_of_the_table() -> None:
    assert [delay_s(n) for n in range(12)] == [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert delay_s(10**6) == 300


def test_those_who_fail_together_do_not_try_again_together() -> None:
    for failures in (1, 4, 12):
        pauses = {spread_s(failures, f"track-{number}") for number in range(100)}
        assert 0.8 * delay_s(failures) <= min(pauses) < 0.9 * delay_s(failures) < max(pauses) <= delay_s(failures)
        assert len(pauses) == 100
    assert spread_s(3, "track") == spread_s(3, "track")


def free(*hosts: HostCapacity, reservations: tuple[Reservation, ...] = ()) -> tuple[placement.Room, ...]:
    return placement.rooms(Capacity(hosts=hosts, reservations=reservations), frozenset())


def test_devices_are_taken_by_index_and_never_twice() -> None:
    rooms = free(a_host(gpus=2))
    first = placement.place(rooms, GPU_SHAPE)
    assert first is not None
    assert first.devices == ("GPU-host-1-0",)
    rooms = placement.taken(rooms, first, GPU_SHAPE)
    second = placement.place(rooms, GPU_SHAPE)
    assert second is not None
    assert second.devices == ("GPU-host-1-1",)
    assert placement.place(placement.taken(rooms, second, GPU_SHAPE), GPU_SHAPE) is None


def test_replicas_of_one_endpoint_spread_over_hosts() -> None:
    rooms = free(a_host("a"), a_host("b"))
    first = placement.place(rooms, CPU_SHAPE)
    assert first is not None
    second = placement.place(placement.taken(rooms, first, CPU_SHAPE), CPU_SHAPE)
    assert second is not None
    assert {first.host, second.host} == {"a", "b"}


@pytest.mark.parametrize("kind", ["h100", "A10"])
def test_a_device_of_another_kind_does_not_fit(kind: str) -> None:
    assert placement.place(free(a_host(gpus=2, kind=kind)), GPU_SHAPE) is None


SPEC = ModelVersionSpec(artifact="file:///m/v1/", framework="pytorch", runtime="cpu")


def observed(state: ArtifactState | None, reason: str = "") -> VersionObserved:
    manifest = a_manifest() if state is ArtifactState.VERIFIED else None
    report = None if state is None else ArtifactReport(version_uid="u", state=state, seq=1, manifest=manifest, reason=reason, message="so")
    return VersionObserved(hosts={"host-2": "b", "host-1": "a"}, report=report)


def test_an_artifact_is_sent_to_one_host_until_it_is_reported() -> None:
    desired = VersionDesired(uid="u", spec=SPEC, prefixes=("file:///m/",), pinned_digest="d")
    made = plan_version(desired, observed(None))
    assert made.verify is not None
    assert (made.verify.host, made.verify.command_id) == ("host-1", "verify-u-a")
    assert (made.verify.command.expected_digest, made.verify.command.prefixes) == ("d", ("file:///m/",))
    assert plan_version(desired, observed(ArtifactState.VERIFYING)).verify is None


def test_a_host_is_told_what_a_version_was_made_for() -> None:
    spec = msgspec.structs.replace(SPEC, framework="pytorch2.5", runtime="cuda12.6", engine_version="0.32")
    made = plan_version(VersionDesired(uid="u", spec=spec, prefixes=()), observed(None))
    assert made.verify is not None
    command = made.verify.command
    assert (command.framework, command.runtime, command.engine_version) == ("pytorch2.5", "cuda12.6", "0.32")


@pytest.mark.parametrize(
    ("told", "refused"),
    [("PickleRefused", Reason.PICKLE_REFUSED), ("AccessDenied", Reason.ACCESS_DENIED), ("New", Reason.ARTIFACT_MISSING)],
)
def test_a_verdict_is_taken_over(told: str, refused: Reason) -> None:
    desired = VersionDesired(uid="u", spec=SPEC, prefixes=())
    made = plan_version(desired, observed(ArtifactState.REFUSED, told))
    assert (made.refused, made.message) == (refused, "so")
    assert plan_version(desired, observed(ArtifactState.VERIFIED)).manifest == a_manifest()


@pytest.mark.parametrize("verified", [True, False])
def test_a_verdict_that_stands_is_never_judged_again(verified: bool) -> None:
    made = plan_version(VersionDesired(uid="u", spec=SPEC, prefixes=(), verified=verified), observed(ArtifactState.REFUSED))
    assert (made.verify, made.manifest, made.refused) == (None, None, None)


def test_a_start_has_the_regions_time_and_that_of_its_transfer() -> None:
    track = a_track(manifest=a_manifest(size=100 * 20 * 1024 * 1024))
    world = World()
    observed = msgspec.structs.replace(world.observed, start_timeout_s=30)
    state = RolloutState(generation=1, tracks={track.track_id: track})
    draft = Draft(desired=world.desired, observed=observed, state=state, now=world.now)
    assert draft.start_limit_s(track.track_id) == 130
    assert draft.start_limit_s("forgotten") == 30
