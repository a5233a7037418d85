"""Endpoints: apply and wait, change, split."""

import contextlib

import httpx2
import pytest

import fleetform_sdk as sdk
from fleetform.domain.conditions import ConditionType, Reason
from fleetform.domain.endpoint import Rejected
from fleetform.domain.rollout import RolloutPhase
from tests.sdk import bodies
from tests.sdk.fake_api import FakeApi, problem, tagged

PATH = "/v1/projects/acme/endpoints/prod"
VERSION = "/v1/projects/acme/model-versions/acme-summarizer/v1.4"
SPEC: sdk.fields.EndpointSpec = {"instance_type": "cpu-small", "variants": {"v1.4": {"model_version": "acme-summarizer:v1.4"}}}
STARTING = (ConditionType.PROGRESSING, True, Reason.STARTING, "")
ROLLED_BACK = (ConditionType.READY, False, Reason.ROLLED_BACK, "v1.5 did not start")
STALE = (412, problem(412, "stale", "it has changed"))


def starting(**facts: object) -> object:
    return bodies.endpoint(conditions=(STARTING,), live={}, **facts)  # type: ignore[arg-type]  # facts of bodies.endpoint


def test_apply_sends_the_whole_spec() -> None:
    api = FakeApi().on("PUT", PATH, (201, bodies.endpoint()))
    assert api.client().endpoints.apply("prod", SPEC).metadata.generation == 1
    assert api.body() == {"spec": SPEC}
    assert "if-none-match" not in api.requests[0].headers


def test_a_struct_is_sent_without_what_was_left_out() -> None:
    api = FakeApi().on("PUT", PATH, (201, bodies.endpoint()))
    variants = {"v1.4": sdk.types.VariantSpec(model_version="acme-summarizer:v1.4")}
    api.client().endpoints.apply("prod", sdk.types.EndpointSpec(instance_type="cpu-small", variants=variants))
    assert api.body() == {"spec": SPEC}


def test_create_only() -> None:
    api = FakeApi().on("PUT", PATH, STALE)
    with pytest.raises(sdk.PreconditionFailedError):
        api.client().endpoints.apply("prod", SPEC, create_only=True)
    assert api.requests[0].headers["if-none-match"] == "*"


def test_a_creation_whose_answer_was_lost_is_taken_for_ours_when_it_is() -> None:
    ours, other = bodies.endpoint(), bodies.endpoint({"v9": 100})
    ours["spec"] = SPEC
    for found, is_ours in ((ours, True), (other, False)):
        api = FakeApi().on("PUT", PATH, httpx2.ReadError("reset"), STALE).on("GET", PATH, (200, found))
        with contextlib.nullcontext() if is_ours else pytest.raises(sdk.PreconditionFailedError):
            assert api.client().endpoints.apply("prod", SPEC, create_only=True).spec.instance_type == "cpu-small"
        assert api.asked() == [f"PUT {PATH}", f"PUT {PATH}", f"GET {PATH}"]


def test_apply_and_wait_reports_each_change_and_returns_what_serves() -> None:
    seen = [starting(generation=4, revision=r) for r in (1, 1, 2)]
    api = FakeApi().on("PUT", PATH, (200, seen[0]))
    api.on("GET", PATH, *((200, body) for body in seen), (200, bodies.endpoint(generation=4, revision=3)))
    reported: list[int] = []
    found = api.client().endpoints.apply("prod", SPEC, wait=True, on_progress=lambda endpoint: reported.append(endpoint.status.revision))
    assert found.status.ready
    assert reported == [1, 2, 3]
    assert {request.url.params.get("generation") for request in api.requests[1:]} == {"4"}
    assert all(0 < pause <= 2 for pause in api.slept)


@pytest.mark.anyio
async def test_apply_and_wait_asynchronously() -> None:
    api = FakeApi().on("PUT", PATH, (200, starting())).on("GET", PATH, (200, starting()), (200, bodies.endpoint()))
    found = await api.async_client().endpoints.apply("prod", SPEC, wait=True)
    assert found.status.ready


def test_a_rollback_is_a_failure_with_conditions_and_evidence() -> None:
    rejected = Rejected(generation=2, reason="CrashLoop", evidence=("engine ended with status 1", "no such file: tokenizer.json"))
    body = bodies.endpoint({"v1.5": 100}, generation=2, live={"v1.4": 100}, conditions=(ROLLED_BACK,), rejected=rejected)
    api = FakeApi().on("PUT", PATH, (200, body)).on("GET", PATH, (200, body))
    with pytest.raises(sdk.RolloutFailed, match=r"RolledBack: v1\.5 did not start\n  engine ended") as caught:
        api.client().endpoints.apply("prod", SPEC, wait=True)
    assert caught.value.evidence == rejected.evidence
    assert [condition.type for condition in caught.value.conditions] == ["Ready"]
    assert caught.value.endpoint.metadata.name == "prod"


def test_an_endpoint_fails_with_the_version_it_waits_for() -> None:
    body = bodies.endpoint(conditions=((ConditionType.ADMITTED, False, Reason.VERSION_NOT_VERIFIED, ""),), live={})
    api = FakeApi().on("GET", PATH, (200, body))
    api.on(
        "GET",
        VERSION,
        (200, bodies.model_version(False, Reason.VERIFYING)),
        (200, bodies.model_version(False, Reason.DIGEST_MISMATCH, "model.safetensors: one bit differs")),
    )
    with pytest.raises(sdk.RolloutFailed, match=r"acme-summarizer:v1\.4 was refused: model\.safetensors: one bit differs") as caught:
        api.client().endpoints.wait_until_ready("prod", generation=1)
    assert caught.value.reason == "DigestMismatch"


def test_a_wait_ends_with_its_time_and_tells_where_things_stand() -> None:
    api = FakeApi().on("GET", PATH, (200, starting()))
    with pytest.raises(sdk.WaitTimeout, match="not ready yet: Progressing") as caught:
        api.client().endpoints.wait_until_ready("prod", timeout=0)
    assert isinstance(caught.value.resource, sdk.types.Endpoint)


def test_whoever_waits_for_a_change_that_another_replaced_is_told_so() -> None:
    api = FakeApi().on("PUT", PATH, (200, starting(generation=4)))
    api.on("GET", PATH, (200, starting(generation=4)), (200, bodies.endpoint(generation=5)))
    with pytest.raises(sdk.RolloutFailed, match="generation 4 was replaced by generation 5") as caught:
        api.client().endpoints.apply("prod", SPEC, wait=True)
    assert caught.value.reason == "Superseded"


def test_whoever_waits_for_the_newest_change_follows_it() -> None:
    api = FakeApi().on("GET", PATH, (200, starting(generation=4)), (200, starting(generation=4)), (200, bodies.endpoint(generation=5)))
    assert api.client().endpoints.wait_until_ready("prod").metadata.generation == 5


def test_a_wait_outlives_a_restart_of_the_server() -> None:
    away = [httpx2.ConnectError("refused")] * 9 + [(503, problem(503, "unavailable", "the database is away"))] * 3
    api = FakeApi().on("GET", PATH, (200, starting()), *away, (200, bodies.endpoint()))
    assert api.client().endpoints.wait_until_ready("prod", generation=1).status.ready


def test_a_wait_outlives_a_restart_at_any_of_its_questions() -> None:
    away = [httpx2.ConnectError("refused")] * 5
    held_up = bodies.endpoint(conditions=((ConditionType.ADMITTED, False, Reason.VERSION_NOT_VERIFIED, ""),), live={})
    api = FakeApi().on("GET", PATH, (200, held_up), (200, held_up), (200, bodies.endpoint()))
    api.on("GET", VERSION, *away, (200, bodies.model_version(False, Reason.VERIFYING)))
    api.on("GET", f"{PATH}/rollouts", *away, (200, bodies.page()))
    assert api.client().endpoints.wait_until_ready("prod", generation=1, on_rollout=lambda endpoint, rollout: None).status.ready


def test_a_wait_does_not_outlive_a_server_that_stays_away() -> None:
    api = FakeApi().on("GET", PATH, httpx2.ConnectError("refused"))
    with pytest.raises(sdk.APIConnectionError):
        api.client(max_retries=0).endpoints.wait_until_ready("prod", generation=1)
    assert len(api.requests) == 30


def test_delete_and_wait() -> None:
    gone = (404, problem(404, "not-found", "no endpoint 'prod'"))
    api = FakeApi().on("DELETE", PATH, (202, bodies.endpoint())).on("GET", PATH, (200, bodies.endpoint()), gone)
    api.client().endpoints.delete("prod", wait=True)
    assert [request.url.params.get("wait_for") for request in api.requests[1:]] == ["deleted", "deleted"]


def test_delete_and_wait_in_vain() -> None:
    api = FakeApi().on("DELETE", PATH, (202, bodies.endpoint())).on("GET", PATH, (200, bodies.endpoint()))
    with pytest.raises(sdk.WaitTimeout):
        api.client().endpoints.delete("prod", wait=True, timeout=0)


def test_set_traffic_reads_changes_and_writes_under_the_entity_tag() -> None:
    api = FakeApi().on("GET", PATH, tagged(bodies.endpoint(), '"1-7"')).on("PUT", PATH, (200, bodies.endpoint()))
    api.client().endpoints.set_traffic("prod", {"v1.4": 90, "v1.5": 10})
    assert api.requests[1].headers["if-match"] == '"1-7"'
    assert api.body()["spec"]["variants"] == {
        "v1.4": {"model_version": "acme-summarizer:v1.4", "weight": 90},
        "v1.5": {"model_version": "acme-summarizer:v1.5", "weight": 10},
    }


def test_a_faster_writer_is_given_way_to_and_kept() -> None:
    theirs = bodies.endpoint(generation=2)
    theirs["spec"]["labels"] = {"team": "a"}
    api = FakeApi().on("GET", PATH, tagged(bodies.endpoint(), '"1-0"'), tagged(theirs, '"2-0"')).on("PUT", PATH, STALE, (200, theirs))
    api.client().endpoints.set_traffic("prod", {"v1.4": 50, "v1.5": 50})
    assert api.requests[-1].headers["if-match"] == '"2-0"'
    assert api.body()["spec"]["labels"] == {"team": "a"}


def test_others_who_are_always_faster_end_it() -> None:
    api = FakeApi().on("GET", PATH, tagged(bodies.endpoint(), '"1-0"')).on("PUT", PATH, STALE)
    with pytest.raises(sdk.PreconditionFailedError):
        api.client().endpoints.set_traffic("prod", {"v1.5": 100})
    assert len(api.requests) == 10


def test_a_split_that_is_in_force_writes_nothing() -> None:
    api = FakeApi().on("GET", PATH, tagged(bodies.endpoint(), '"1-0"'))
    api.client().endpoints.set_traffic("prod", {"v1.4": 100})
    assert api.asked() == [f"GET {PATH}"]


def test_a_put_whose_answer_was_lost_is_not_done_twice() -> None:
    """The repeated PUT meets our own first one as 412; reading again shows that nothing is left to do."""
    done = bodies.endpoint({"v1.4": 90, "v1.5": 10}, generation=2)
    api = FakeApi().on("GET", PATH, tagged(bodies.endpoint(), '"1-0"'), tagged(done, '"2-0"'))
    api.on("PUT", PATH, httpx2.ReadError("reset"), STALE)
    assert api.client().endpoints.set_traffic("prod", {"v1.4": 90, "v1.5": 10}).metadata.generation == 2
    assert api.asked() == [f"GET {PATH}", f"PUT {PATH}", f"PUT {PATH}", f"GET {PATH}"]


def test_fields_of_a_newer_server_survive_a_change() -> None:
    body = bodies.endpoint()
    body["spec"]["tomorrow"] = {"deep": [1, 2]}
    api = FakeApi().on("GET", PATH, tagged(body, '"1-0"')).on("PUT", PATH, (200, body))
    api.client().endpoints.update("prod", lambda spec: {**spec, "request_timeout_s": 5})
    assert api.body()["spec"]["tomorrow"] == {"deep": [1, 2]}


def test_wait_until_verified() -> None:
    api = FakeApi().on("GET", VERSION, (200, bodies.model_version(False, Reason.VERIFYING)), (200, bodies.model_version()))
    assert api.client().model_versions.wait_until_verified("acme-summarizer", "v1.4").status.digest
    refused = FakeApi().on("GET", VERSION, (200, bodies.model_version(False, Reason.PICKLE_REFUSED, "weights.bin is a pickle")))
    with pytest.raises(sdk.VerificationFailed, match=r"PickleRefused: weights\.bin is a pickle"):
        refused.client().model_versions.wait_until_verified("acme-summarizer", "v1.4")
    slow = FakeApi().on("GET", VERSION, (200, bodies.model_version(False, Reason.VERIFYING)))
    with pytest.raises(sdk.WaitTimeout):
        slow.client().model_versions.wait_until_verified("acme-summarizer", "v1.4", timeout=0)


def test_a_rollout_is_told_of_while_apply_waits() -> None:
    moving = bodies.endpoint({"v1.5": 100}, generation=2, observed=1, live={"v1.4": 100})
    ready = bodies.endpoint({"v1.5": 100}, generation=2, revision=2)
    earlier = bodies.rollout(generation=1)
    api = FakeApi().on("PUT", PATH, (200, moving)).on("GET", PATH, (200, moving), (200, moving), (200, moving), (200, ready))
    running, done = bodies.rollout(), bodies.rollout(phase=RolloutPhase.COMPLETED)
    pages = [bodies.page(rollout) for rollout in (earlier, running, running, done)]
    api.on("GET", f"{PATH}/rollouts", *((200, page) for page in pages))
    told: list[str] = []
    api.client().endpoints.apply("prod", SPEC, wait=True, on_rollout=lambda endpoint, rollout: told.append(rollout.phase))
    assert told == ["Running", "Completed"], "each word once, and none about an earlier generation"
