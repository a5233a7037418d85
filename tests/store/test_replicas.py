"""What people are shown of a replica that runs and is not counted on."""

import msgspec
import pytest

from fleetform.domain.replica import FailureReason, Replica, ReplicaPhase
from fleetform.store.replicas import view
from tests.builders import NOON

READY = Replica(
    replica_id="r1",
    endpoint_uid="e1",
    track="v1.00000000",
    model_version="m:v1",
    generation=1,
    phase=ReplicaPhase.READY,
    members=(),
    nonce="n",
    created_at=NOON,
    changed_at=NOON,
)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, None),
        ({"hung_since": NOON}, "Hung"),
        ({"lost_since": NOON}, "HostLost"),
        ({"slow": "it gets no new requests for 30 s"}, "Slow"),
        ({"slow": "it gets no new requests for 30 s", "hung_since": NOON}, "Hung"),
        ({"slow": "it gets no new requests for 30 s", "phase": ReplicaPhase.STOPPED}, None),
        ({"hung_since": NOON, "failure": FailureReason.CRASHED, "message": "it ended"}, "Crashed"),
    ],
)
def test_a_replica_says_why_it_is_not_counted_on(fields: dict[str, object], reason: str | None) -> None:
    shown = view(msgspec.structs.replace(READY, **fields), NOON, {})
    assert shown.reason == reason
    assert bool(shown.message) == (reason is not None)
