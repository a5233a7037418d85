"""The rules of success and of final failure."""

from typing import Any

import msgspec
import pytest

from fleetform.domain.conditions import ConditionType, Reason
from fleetform.domain.endpoint import Rejected
from fleetform_sdk import types
from fleetform_sdk._readiness import Failed, Ready, Verdict, Waiting, endpoint_verdict, version_verdict, waits_for_versions
from tests.sdk import bodies

ROLLED_BACK = (ConditionType.READY, False, Reason.ROLLED_BACK, "v1.5 did not start")
STALLED = (ConditionType.PROGRESSING, False, Reason.STALLED, "three starts failed")
CRASHING = (ConditionType.DEGRADED, True, Reason.CRASH_LOOP, "engine ended\nout of memory")
SHIFTING = (ConditionType.PROGRESSING, True, Reason.SHIFTING_TRAFFIC, "")
UNVERIFIED = (ConditionType.ADMITTED, False, Reason.VERSION_NOT_VERIFIED, "")
REJECTED = Rejected(generation=2, reason="CrashLoop", evidence=("engine ended", "no such file"))


def endpoint(**facts: Any) -> types.Endpoint:
    return msgspec.convert(bodies.endpoint(**facts), types.Endpoint)


@pytest.mark.parametrize(
    ("case", "facts", "generation", "verdict"),
    [
        ("serves what was wanted", {}, 1, Ready()),
        ("variants without traffic do not count", {"split": {"a": 100, "b": 0}, "live": {"a": 100}}, 1, Ready()),
        (
            "somebody else's later wish serves",
            {"generation": 3},
            2,
            Failed("Superseded", "generation 2 was replaced by generation 3: somebody else changed the endpoint meanwhile"),
        ),
        ("says ready, but of an older wish", {"generation": 2, "observed": 1}, 2, Waiting()),
        ("says ready, but the old split serves", {"split": {"a": 90, "b": 10}, "live": {"a": 100}}, 1, Waiting()),
        (
            "weights are still on their way",
            {"split": {"a": 90, "b": 10}, "live": {"a": 95, "b": 5}, "conditions": (bodies.READY, SHIFTING)},
            1,
            Waiting(),
        ),
        (
            "back to the split of before, while some traffic still goes to the one in between",
            {"generation": 3, "live": {"v1.4": 100}, "conditions": (bodies.READY, SHIFTING)},
            3,
            Waiting(),
        ),
        ("no condition yet", {"conditions": ()}, 1, Waiting()),
        (
            "rolled back, with the server's evidence",
            {"generation": 2, "conditions": (ROLLED_BACK,), "rejected": REJECTED, "live": {"v1.3": 100}},
            2,
            Failed("RolledBack", "v1.5 did not start", ("engine ended", "no such file")),
        ),
        (
            "stalled, with the engine's last lines",
            {"conditions": (STALLED, CRASHING)},
            1,
            Failed("Stalled", "three starts failed", ("engine ended", "out of memory")),
        ),
        (
            "the rollback of an older wish is no failure of ours",
            {"generation": 3, "observed": 2, "conditions": (ROLLED_BACK,)},
            3,
            Waiting(),
        ),
    ],
)
def test_endpoint(case: str, facts: dict[str, Any], generation: int, verdict: Verdict) -> None:
    assert endpoint_verdict(endpoint(**facts), generation) == verdict, case


def test_live_of_another_instance_type_is_not_what_was_wanted() -> None:
    found = endpoint()
    assert found.status.live is not None
    found.status.live.instance_type = "cpu-large"
    assert endpoint_verdict(found, 1) == Waiting()


@pytest.mark.parametrize(
    ("verified", "reason", "verdict"),
    [
        (True, Reason.VERIFIED, Ready()),
        (False, Reason.VERIFYING, Waiting()),
        (False, Reason.PICKLE_REFUSED, Failed("PickleRefused", "weights.bin is a pickle")),
    ],
)
def test_model_version(verified: bool, reason: Reason, verdict: Verdict) -> None:
    body = bodies.model_version(verified, reason, "weights.bin is a pickle")
    assert version_verdict(msgspec.convert(body, types.ModelVersion)) == verdict


def test_only_an_endpoint_that_waits_for_versions_is_asked_about_them() -> None:
    assert waits_for_versions(endpoint(conditions=(UNVERIFIED,)))
    assert not waits_for_versions(endpoint())
