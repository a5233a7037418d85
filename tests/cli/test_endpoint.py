"""`fleetform endpoint`, typed as the interface has it."""

import json

import pytest

from fleetform.domain.conditions import ConditionType, Reason
from fleetform.domain.endpoint import Rejected
from tests.cli.conftest import Shell
from tests.sdk import bodies
from tests.sdk.fake_api import problem, tagged

PATH = "/v1/projects/acme/endpoints/prod"
STARTING = (ConditionType.PROGRESSING, True, Reason.STARTING, "v1.4 loads its weights")
SHIFTING = (ConditionType.PROGRESSING, True, Reason.SHIFTING_TRAFFIC, "")
ROLLED_BACK = (ConditionType.READY, False, Reason.ROLLED_BACK, "v1.5 did not start")


def test_create_sends_what_was_typed_and_nothing_else(shell: Shell) -> None:
    shell.api.on("PUT", PATH, (201, bodies.endpoint()))
    words = "--name prod --model acme-summarizer:v1.4 --instance-type gpu-a10-1x"
    more = "--min-replicas 2 --max-replicas 20 --target-concurrency 8 --timeout 30s"
    shell("endpoint", "create", *words.split(), *more.split())
    assert shell.api.body() == {
        "spec": {
            "variants": {"v1.4": {"model_version": "acme-summarizer:v1.4"}},
            "instance_type": "gpu-a10-1x",
            "scaling": {"min_replicas": 2, "max_replicas": 20, "target_concurrency": 8},
            "request_timeout_s": 30,
        }
    }
    assert shell.api.requests[0].headers["if-none-match"] == "*"


def test_create_with_everything(shell: Shell) -> None:
    shell.api.on("PUT", PATH, (201, bodies.endpoint()))
    words = (
        "--name prod --model m:v1 --instance-type t --engine-arg max_model_len=2048 --engine-arg dtype=bfloat16 --type streaming "
        "--mode dedicated --idle 10m --max-requests-per-replica 10000 --steps 50,100 --step-hold 5s --bake 1h --retry again "
        "--logging off --deletion-protection --label team=a --label cost=b"
    )
    shell("endpoint", "create", *words.split())
    assert shell.api.body()["spec"] == {
        "variants": {"v1": {"model_version": "m:v1", "engine_args": {"max_model_len": "2048", "dtype": "bfloat16"}}},
        "instance_type": "t",
        "type": "streaming",
        "mode": "dedicated",
        "scaling": {"idle_s": 600},
        "max_requests_per_replica": 10000,
        "rollout": {"steps": [50, 100], "step_hold_s": 5, "bake_s": 3600, "retry": "again"},
        "logging": {"content": "off"},
        "deletion_protection": True,
        "labels": {"team": "a", "cost": "b"},
    }


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("office: 0 9 * * SUN-THU for 8h", {"cron": "0 9 * * SUN-THU", "duration_s": 28800}),
        (
            "office: 0 9 * * SUN-THU for 8h in Asia/Dhaka, min 2, max 10",
            {"cron": "0 9 * * SUN-THU", "duration_s": 28800, "timezone": "Asia/Dhaka", "min_replicas": 2, "max_replicas": 10},
        ),
        ("office:*/5 * * * * for 90s min 0", {"cron": "*/5 * * * *", "duration_s": 90, "min_replicas": 0}),
        ("office: nonsense for 1m in Mars, max 1", {"cron": "nonsense", "duration_s": 60, "timezone": "Mars", "max_replicas": 1}),
    ],
)
def test_a_schedule_is_typed_as_it_is_said(shell: Shell, text: str, fields: dict[str, object]) -> None:
    shell.api.on("PUT", PATH, (201, bodies.endpoint()))
    shell("endpoint", "create", "--name", "prod", "--model", "m:v1", "--instance-type", "t", "--min-replicas", "0", "--schedule", text)
    assert shell.api.body()["spec"]["scaling"] == {"min_replicas": 0, "schedule": {"office": fields}}


@pytest.mark.parametrize(
    "text", ["0 9 * * *", "office 0 9 * * * for 8h", "office: 0 9 * * *", "office: for 8h", "office: 0 9 * * * for long"]
)
def test_a_schedule_of_another_form_is_a_usage_error(shell: Shell, text: str) -> None:
    words = ("--name", "prod", "--model", "m:v1", "--instance-type", "t")
    assert "--schedule" in shell("endpoint", "create", *words, "--schedule", text, status=2).stderr


def test_schedules_are_replaced_together_or_removed(shell: Shell) -> None:
    old = bodies.endpoint()
    old["spec"]["scaling"] = {"min_replicas": 2, "schedule": {"day": {"cron": "0 9 * * *", "duration_s": 60, "min_replicas": 3}}}
    for words, schedule in (
        (("--schedule", "night: 0 22 * * * for 1h, max 2"), {"night": {"cron": "0 22 * * *", "duration_s": 3600, "max_replicas": 2}}),
        (("--no-schedule",), None),
    ):
        shell.api.on("GET", PATH, tagged(old, '"1-0"'))
        shell.api.on("PUT", PATH, (200, bodies.endpoint()))
        shell("endpoint", "update", "--name", "prod", *words)
        scaling = shell.api.body()["spec"]["scaling"]
        assert scaling == {"min_replicas": 2} | ({} if schedule is None else {"schedule": schedule})
    stderr = shell("endpoint", "update", "--name", "prod", "--no-schedule", "--schedule", "a: 0 1 * * * for 1h", status=2).stderr
    assert "do not go together" in stderr


def test_create_does_not_replace(shell: Shell) -> None:
    shell.api.on("PUT", PATH, (412, problem(412, "stale", "endpoint 'prod' exists")))
    stderr = shell("endpoint", "create", "--name", "prod", "--model", "m:v1", "--instance-type", "t", status=1).stderr
    assert "endpoint 'prod' exists" in stderr


@pytest.mark.parametrize(
    ("split", "weights"),
    [
        ("v1.4=90,v1.5=10", {"v1.4": 90, "v1.5": 10}),
        ("v1.5=100", {"v1.4": 0, "v1.5": 100}),
        ("v1.4=100, v1.5=0", {"v1.4": 100, "v1.5": 0}),
    ],
)
def test_update_of_the_split(shell: Shell, split: str, weights: dict[str, int]) -> None:
    shell.api.on("GET", PATH, tagged(bodies.endpoint(), '"1-0"')).on("PUT", PATH, (200, bodies.endpoint()))
    shell("endpoint", "update", "--name", "prod", "--traffic-split", split)
    assert {name: variant["weight"] for name, variant in shell.api.body()["spec"]["variants"].items()} == weights
    assert shell.api.requests[-1].headers["if-match"] == '"1-0"'


def test_update_keeps_what_was_not_typed(shell: Shell) -> None:
    old = bodies.endpoint()
    old["spec"]["scaling"] = {"min_replicas": 2, "max_replicas": 20}
    shell.api.on("GET", PATH, tagged(old, '"1-0"')).on("PUT", PATH, (200, bodies.endpoint()))
    shell("endpoint", "update", "--name", "prod", "--target-concurrency", "6", "--no-deletion-protection")
    assert shell.api.body()["spec"] == {
        **old["spec"],
        "scaling": {"min_replicas": 2, "max_replicas": 20, "target_concurrency": 6},
        "deletion_protection": False,
    }


def test_a_variant_without_traffic_can_be_removed_and_one_with_traffic_cannot(shell: Shell) -> None:
    old = bodies.endpoint({"v1.4": 0, "v1.5": 100})
    shell.api.on("GET", PATH, tagged(old, '"1-0"')).on("PUT", PATH, (200, bodies.endpoint()))
    shell("endpoint", "update", "--name", "prod", "--remove-variant", "v1.4")
    assert list(shell.api.body()["spec"]["variants"]) == ["v1.5"]
    assert "has traffic" in shell("endpoint", "update", "--name", "prod", "--remove-variant", "v1.5", status=2).stderr
    assert "no variant 'v9'" in shell("endpoint", "update", "--name", "prod", "--remove-variant", "v9", status=2).stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["update", "--name", "prod"], "nothing to change"),
        (["update", "--name", "prod", "--traffic-split", "v1.4:90"], "name=percent"),
        (["update", "--name", "prod", "--traffic-split", "v1=50,v1=50"], "given twice"),
        (["update", "--name", "prod", "--steps", "a"], "list of percentages"),
        (["create", "--name", "prod", "--model", "m", "--instance-type", "t"], "model:version"),
        (["create", "--name", "prod", "--model", "m:v1", "--instance-type", "t", "--timeout", "soon"], "not a duration"),
        (["create", "--name", "prod", "--model", "m:v1", "--instance-type", "t", "--label", "x"], "key=value"),
        (["create", "--model", "m:v1"], "--name"),
        (["create", "--name", "prod", "--model", "m:v1", "--instance-type", "t", "--timeout", "9" * 400], "no end"),
        (["create", "--name", "prod", "--model", "m:v1", "--instance-type", "t", "--label", "a=\udcff"], "cannot be sent"),
        (["delete", ""], "a name is empty"),
        (["delete", "\udcff"], "not Unicode"),
        (["delete", "prod", "--project", ""], "--project"),
    ],
)
def test_wrong_usage(shell: Shell, words: list[str], said: str) -> None:
    assert said in shell("endpoint", *words, status=2).stderr
    assert shell.api.requests == []


def test_wrong_fields_are_told_as_the_options_that_set_them(shell: Shell) -> None:
    errors = [
        {"pointer": "/spec/scaling/max_replicas", "detail": "1 is below min_replicas (2)", "code": "bounds"},
        {"pointer": "/spec/variants/v1.4/model_version", "detail": "acme:v1.4 is not registered", "code": "unknown"},
        {
            "pointer": "/spec/max_requests_per_replica",
            "detail": "recycling replicas is not available in this release",
            "code": "unsupported",
        },
        {"pointer": "/spec/novelty", "detail": "unknown field", "code": "unknown_field"},
    ]
    shell.api.on("PUT", PATH, (422, problem(422, "invalid-spec", "4 fields are wrong", errors=errors)))
    stderr = shell("endpoint", "create", "--name", "prod", "--model", "acme:v1.4", "--instance-type", "t", status=1).stderr
    assert "--max-replicas: 1 is below min_replicas (2)" in stderr
    assert "--traffic-split or --model: acme:v1.4 is not registered" in stderr
    assert "--max-requests-per-replica: recycling replicas is not available in this release" in stderr
    assert "/spec/novelty: unknown field" in stderr


def test_waiting_shows_each_change_and_ends_ready(shell: Shell) -> None:
    starting = bodies.endpoint(conditions=(STARTING,), live={}, replicas=(0, 2))
    ready = bodies.endpoint(replicas=(2, 2), revision=2)
    shell.api.on("PUT", PATH, (201, starting)).on("GET", PATH, (200, starting), (200, starting), (200, ready))
    result = shell("endpoint", "create", "--name", "prod", "--model", "m:v1", "--instance-type", "t", "--wait")
    assert [line.partition("s  ")[2] for line in result.stderr.splitlines()] == [
        "Progressing; 0/2 replicas ready; Starting: v1.4 loads its weights",
        "Ready; 2/2 replicas ready",
    ]
    assert result.stdout == "endpoint prod created and ready at http://127.0.0.1:7080/v1\n"


def test_a_rollback_is_a_failure_with_the_evidence(shell: Shell) -> None:
    rejected = Rejected(generation=2, reason="CrashLoop", evidence=("no such file: tokenizer.json",))
    body = bodies.endpoint({"v1.5": 100}, generation=2, live={"v1.4": 100}, conditions=(ROLLED_BACK,), rejected=rejected)
    shell.api.on("GET", PATH, (200, body))
    stderr = shell("endpoint", "wait", "prod", status=1).stderr
    assert "RolledBack: v1.5 did not start" in stderr
    assert "no such file: tokenizer.json" in stderr
    assert "--retry" in stderr


def test_waiting_in_vain_is_a_failure(shell: Shell) -> None:
    shell.api.on("GET", PATH, (200, bodies.endpoint(conditions=(STARTING,), live={})))
    assert "not ready yet" in shell("endpoint", "wait", "prod", "--wait-timeout", "0s", status=1).stderr


def test_list_in_a_pipe_is_plain_lines(shell: Shell) -> None:
    page = bodies.page(bodies.endpoint({"v1.4": 90, "v1.5": 10}, replicas=(2, 3)))
    shell.api.on("GET", "/v1/projects/acme/endpoints", (200, page))
    cells = shell("endpoint", "list").stdout.rstrip("\n").split("\t")
    assert cells[:5] == ["prod", "Ready", "2/3", "v1.4=90,v1.5=10", "cpu-small"]


def test_list_shows_what_serves_and_what_is_wanted_instead(shell: Shell) -> None:
    page = bodies.page(bodies.endpoint({"v1.4": 0, "v1.5": 100}, live={"v1.4": 100}))
    shell.api.on("GET", "/v1/projects/acme/endpoints", (200, page))
    assert shell("endpoint", "list").stdout.split("\t")[3] == "v1.4=100 (wanted: v1.5=100)"


def test_list_as_json_is_what_the_api_has(shell: Shell) -> None:
    shell.api.on("GET", "/v1/projects/acme/endpoints", (200, bodies.page(bodies.endpoint())))
    assert json.loads(shell("endpoint", "list", "--output", "json").stdout)[0]["spec"] == bodies.endpoint()["spec"]


@pytest.mark.parametrize(
    ("replicas", "conditions", "bake_s", "said"),
    [
        ((2, 2), (bodies.READY, bodies.SETTLED), 600, "2/2"),
        ((1, 2), (bodies.READY, bodies.SETTLED), 600, "1/2"),
        ((3, 2), (bodies.READY, bodies.SETTLED), 600, "3/2; 1 more kept warm for a way back, for 10m after the traffic has left (bake_s)"),
        ((3, 2), (bodies.READY, bodies.SETTLED), 0, "3/2; 1 more on the way out"),
        ((2, 0), (bodies.READY, bodies.SETTLED), 600, "2/0; 2 more on the way out"),
        ((4, 2), (bodies.READY, SHIFTING), 600, "4/2; 2 more until the traffic has moved"),
    ],
)
def test_get_says_what_those_are_for_that_are_ready_beyond_the_wanted_ones(
    shell: Shell, replicas: tuple[int, int], conditions: tuple[bodies.ConditionFacts, ...], bake_s: int, said: str
) -> None:
    body = bodies.endpoint(replicas=replicas, conditions=conditions)
    body["status"]["effective"]["bake_s"] = bake_s
    shell.api.on("GET", PATH, (200, body))
    assert f"\nreplicas ready\t{said}\n" in shell("endpoint", "get", "prod").stdout


def test_get_shows_why_wanted_and_live_differ(shell: Shell) -> None:
    rejected = Rejected(generation=2, reason="CrashLoop", evidence=("no such file: tokenizer.json",))
    body = bodies.endpoint({"v1.5": 100}, generation=2, live={"v1.4": 100}, conditions=(ROLLED_BACK,), rejected=rejected)
    shell.api.on("GET", PATH, (200, body))
    facts = dict(line.split("\t") for line in shell("endpoint", "get", "prod").stdout.splitlines())
    assert facts["wanted traffic"] == "v1.5=100 (acme-summarizer:v1.5)"
    assert facts["live traffic"] == "v1.4=100 (acme-summarizer:v1.4)"
    assert facts["condition Ready"] == "no RolledBack v1.5 did not start"
    assert facts["evidence"] == "no such file: tokenizer.json"


def test_delete_and_wait(shell: Shell) -> None:
    gone = (404, problem(404, "not-found", "no endpoint 'prod'"))
    shell.api.on("DELETE", PATH, (202, bodies.endpoint())).on("GET", PATH, (200, bodies.endpoint()), gone)
    assert shell("endpoint", "delete", "prod", "--wait").stdout == "endpoint prod deleted\n"


def test_events(shell: Shell) -> None:
    shell.api.on("GET", f"{PATH}/events", (200, bodies.page(bodies.event())))
    assert "ReplicaReady\t1\t\treplica r-1 is ready" in shell("endpoint", "events", "prod").stdout


@pytest.mark.parametrize(
    ("more_above", "fewer_below", "hold_s", "replicas", "lines"),
    [
        (
            19.04,
            12.29,
            300.0,
            3,
            (
                "more when\tmore than 19.0 requests are under way or held, on average over 60 s or over 6 s",
                "fewer when\tfewer than 12.3 are under way or held for 5m",
            ),
        ),
        (None, None, 0.0, 4, ("more when\tmax_replicas is raised: no load", "fewer when\tmin_replicas is lowered: no load")),
        (8.0, None, 0.0, 2, ("fewer when\tschedule day ends, or is changed: no load",)),
        (4.5, 0.0, 0.0, 1, ("fewer when\tno request comes for 5m (idle_s)",)),
        (0.0, None, 0.0, 0, ("why so many\t0 replicas for ", "more when\tany request comes")),
    ],
)
def test_get_says_why_there_are_so_many_and_what_would_change_that(
    shell: Shell, more_above: float | None, fewer_below: float | None, hold_s: float, replicas: int, lines: tuple[str, ...]
) -> None:
    load = {"at": bodies.AT, "since": bodies.AT, "stable": 16.04, "burst": 2.0, "queued": 1, "idle_s": 0.0}
    decision = {
        "replicas": replicas,
        "at": bodies.AT,
        "reason": "Concurrency",
        "message": "16.0 requests need room for 24.0",
        "load": {**load, "tokens_in_use": None, "tokens_waiting": None, "token_capacity": None},
        "more_above": more_above,
        "fewer_below": fewer_below,
        "hold_s": hold_s,
        "before": None,
    }
    endpoint = bodies.endpoint()
    endpoint["status"]["scaling"] = decision
    day = {"cron": "0 9 * * *", "duration_s": 28800, "timezone": "Asia/Dhaka", "min_replicas": 2, "max_replicas": None}
    endpoint["status"]["effective"]["schedule"] = {"day": day}
    shell.api.on("GET", PATH, (200, endpoint))
    stdout = shell("endpoint", "get", "prod").stdout
    for line in (*lines, "load then\t16.0 over 60 s, 2.0 over 6 s, 1 held", "schedule day\tmin 2 for 8h from 0 9 * * * (Asia/Dhaka)"):
        assert f"\n{line}" in stdout
    assert "16.0 requests need room for 24.0" in stdout
