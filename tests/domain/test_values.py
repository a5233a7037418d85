"""Names, transitions, conditions, splits and roles."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetform.domain.access import Role, roles_held
from fleetform.domain.conditions import ConditionType, Reason, with_condition
from fleetform.domain.names import is_name, is_principal, split_model_ref
from fleetform.domain.replica import TRANSITIONS, IllegalTransition, Member, Replica, ReplicaPhase, moved
from fleetform.domain.rollout import split_at, track_id

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("name", ["a", "gpu-a10-1x", "v1.4", "a" * 63, "0"])
def test_good_names(name: str) -> None:
    assert is_name(name)


@pytest.mark.parametrize("name", ["", "..", "a..b", "-a", "a-", "A", "a_b", "a/b", "a" * 64, "../x", "a\n", "é", "a b", "a.-b"])
def test_bad_names(name: str) -> None:
    assert not is_name(name)


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("user:Ann.Lee@example.com", True),
        ("token:acme:rag-app", True),
        ("token:acme", False),
        ("token:..:x", False),
        ("token:acme:..", False),
        ("token:acme:a:b", False),
        ("user:", False),
        ("user:a b", False),
        ("group:x", False),
        ("token:acme:x\n", False),
    ],
)
def test_principals(text: str, good: bool) -> None:
    assert is_principal(text) is good


@pytest.mark.parametrize(
    ("ref", "parts"),
    [
        ("m:v1", ("m", "v1")),
        ("catalogue/llama:v1", ("catalogue/llama", "v1")),
        ("m", None),
        ("m:", None),
        (":v", None),
        ("m:v:w", None),
        ("../m:v1", None),
    ],
)
def test_model_references(ref: str, parts: tuple[str, str] | None) -> None:
    assert split_model_ref(ref) == parts


def a_replica(phase: ReplicaPhase) -> Replica:
    return Replica(
        replica_id="r1",
        endpoint_uid="u",
        track="v1.00000000",
        model_version="m:v1",
        generation=1,
        phase=phase,
        members=(Member(host="h"),),
        nonce="n",
        created_at=NOW,
        changed_at=NOW,
    )


@pytest.mark.parametrize("start", ReplicaPhase)
@pytest.mark.parametrize("end", ReplicaPhase)
def test_only_the_table_moves_a_replica(start: ReplicaPhase, end: ReplicaPhase) -> None:
    later = NOW + timedelta(seconds=1)
    if start is end:
        assert moved(a_replica(start), end, later) == a_replica(start)
    elif end in TRANSITIONS[start]:
        assert moved(a_replica(start), end, later).phase is end
    else:
        with pytest.raises(IllegalTransition):
            moved(a_replica(start), end, later)


def test_every_phase_can_reach_its_end() -> None:
    for phase in ReplicaPhase:
        reached, grown = {phase}, True
        while grown:
            wider = reached | {after for before in reached for after in TRANSITIONS[before]}
            grown, reached = wider != reached, wider
        assert ReplicaPhase.STOPPED in reached


def test_a_condition_keeps_its_time_until_its_status_changes() -> None:
    first = with_condition((), ConditionType.READY, False, Reason.STARTING, "", NOW)
    later = NOW + timedelta(minutes=1)
    same = with_condition(first, ConditionType.READY, False, Reason.NO_READY_REPLICA, "", later)
    assert [c.changed_at for c in same] == [NOW]
    changed = with_condition(same, ConditionType.READY, True, Reason.SERVING, "", later)
    assert [c.changed_at for c in changed] == [later]


def splits() -> st.SearchStrategy[dict[str, int]]:
    """Up to five tracks whose weights sum to 100."""
    cuts = st.lists(st.integers(0, 100), min_size=0, max_size=4).map(sorted)
    return cuts.map(lambda c: {f"t{i}": b - a for i, (a, b) in enumerate(zip([0, *c], [*c, 100], strict=True))})


@given(splits(), splits(), st.integers(0, 100))
def test_a_step_is_a_whole_split(old: dict[str, int], new: dict[str, int], percent: int) -> None:
    new = {f"n{track}": weight for track, weight in new.items()}
    split = split_at(old, new, percent)
    assert sum(split.values()) == 100
    assert all(weight > 0 for weight in split.values())
    moved_share = sum(weight for track, weight in split.items() if track in new)
    assert abs(moved_share - percent) <= len(old) + len(new)


@given(splits(), splits())
def test_the_ends_are_the_two_splits(old: dict[str, int], new: dict[str, int]) -> None:
    assert split_at(old, new, 0) == {track: weight for track, weight in old.items() if weight}
    assert split_at(old, new, 100) == {track: weight for track, weight in new.items() if weight}
    assert split_at({}, new, 1) == split_at(old, new, 100)


def test_a_track_is_its_content() -> None:
    assert track_id("v1", {"a": 1, "b": 2}) == track_id("v1", {"b": 2, "a": 1})
    assert track_id("v1", {"a": 1}) != track_id("v1", {"a": 2})


def test_roles_include_one_another() -> None:
    assert roles_held(frozenset({Role.ADMIN})) == frozenset(Role)
    assert roles_held(frozenset({Role.DEPLOYER})) == {Role.DEPLOYER, Role.VIEWER}
    assert roles_held(frozenset({Role.INVOKER})) == {Role.INVOKER}
    assert roles_held(frozenset()) == frozenset()
