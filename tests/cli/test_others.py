"""The other client verbs, typed as the interface has them."""

import json

import httpx2
import pytest

from fleetform.domain.conditions import Reason
from tests.cli.conftest import Shell
from tests.sdk import bodies
from tests.sdk.fake_api import problem, tagged

ACME = "/v1/projects/acme"
VERSION = f"{ACME}/model-versions/acme-summarizer/v1.4"
REGISTER = "model register --name acme-summarizer --version v1.4 --artifact s3://acme-models/s/ --framework pytorch --runtime cuda12.6"


def test_model_register(shell: Shell) -> None:
    shell.api.on("PUT", VERSION, (201, bodies.model_version(False, Reason.VERIFYING)))
    assert shell(*REGISTER.split()).stdout == "acme-summarizer:v1.4 Verifying\n"
    assert shell.api.body() == {"spec": {"artifact": "s3://acme-models/s/", "framework": "pytorch", "runtime": "cuda12.6"}}


def test_model_register_and_wait_for_a_refusal(shell: Shell) -> None:
    shell.api.on("PUT", VERSION, (201, bodies.model_version(False, Reason.VERIFYING)))
    shell.api.on("GET", VERSION, (200, bodies.model_version(False, Reason.ARTIFACT_MISSING, "s3://acme-models/s/ is empty")))
    assert "ArtifactMissing: s3://acme-models/s/ is empty" in shell(*REGISTER.split(), "--wait", status=1).stderr


def test_model_list_get_delete(shell: Shell) -> None:
    shell.api.on("GET", f"{ACME}/model-versions", (200, bodies.page(bodies.model_version())))
    shell.api.on("GET", VERSION, (200, bodies.model_version())).on("DELETE", VERSION, (204, None))
    assert shell("model", "list").stdout.startswith("acme-summarizer:v1.4\tVerified\t")
    assert f"digest\t{'d' * 64}" in shell("model", "get", "acme-summarizer:v1.4").stdout
    assert shell("model", "delete", "acme-summarizer:v1.4").stdout == "acme-summarizer:v1.4 deleted\n"


def test_what_blocks_a_delete_is_listed(shell: Shell) -> None:
    body = problem(409, "in-use", "acme-summarizer:v1.4 is in use", references=["endpoint prod", "endpoint staging"])
    shell.api.on("DELETE", VERSION, (409, body))
    assert "references: endpoint prod, endpoint staging" in shell("model", "delete", "acme-summarizer:v1.4", status=1).stderr


def test_quota_set_and_list(shell: Shell) -> None:
    shell.api.on("PUT", f"{ACME}/quotas/gpu-a10-1x", (200, bodies.quota())).on("GET", f"{ACME}/quotas", (200, bodies.page(bodies.quota())))
    shell(*["quota", "set", "--project", "acme", "--instance-type", "gpu-a10-1x", "--max-replicas", "20"])
    assert shell.api.body() == {"spec": {"max_replicas": 20}}
    assert shell("quota", "list").stdout == "cpu-small\t20\t3\t17\tprod=3\n"


def test_a_full_quota_tells_its_holders_and_the_remedy(shell: Shell) -> None:
    body = problem(409, "quota-exceeded", "the quota is full", free=0, holders=[{"endpoint": "prod", "replicas": 3}])
    shell.api.on("PUT", f"{ACME}/quotas/gpu-a10-1x", (409, body))
    stderr = shell(*["quota", "set", "--instance-type", "gpu-a10-1x", "--max-replicas", "1"], status=1).stderr
    assert "free: 0" in stderr
    assert "holders: endpoint=prod replicas=3" in stderr
    assert "fleetform quota set" in stderr


def test_token_create_counts_days(shell: Shell) -> None:
    shell.api.on("PUT", f"{ACME}/tokens/rag-app", (201, bodies.token()))
    shell(*["token", "create", "--name", "rag-app", "--role", "inference.invoker", "--ttl", "30d", "--endpoint", "prod"])
    assert shell.api.body() == {"spec": {"roles": ["inference.invoker"], "endpoints": ["prod"], "ttl_days": 30}}
    assert (
        "number of days" in shell(*["token", "create", "--name", "rag-app", "--role", "inference.invoker", "--ttl", "90m"], status=2).stderr
    )


def test_a_minted_secret_stands_alone_on_standard_output(shell: Shell) -> None:
    shell.api.on("POST", f"{ACME}/tokens/rag-app/credentials", (201, bodies.credential()))
    result = shell("token", "mint", "rag-app", "--ttl", "1h")
    assert result.stdout == "cd-minted\n"
    assert "cd-minted" not in result.stderr
    assert shell.api.body() == {"ttl_s": 3600}
    assert json.loads(shell("token", "mint", "rag-app", "--output", "json").stdout)["secret"] == "cd-minted"


def test_token_list_get_revoke_delete(shell: Shell) -> None:
    path = f"{ACME}/tokens/rag-app"
    shell.api.on("GET", f"{ACME}/tokens", (200, bodies.page(bodies.token()))).on("GET", path, (200, bodies.token()))
    shell.api.on("DELETE", f"{path}/credentials/0123456789abcdef", (204, None)).on("DELETE", path, (204, None))
    assert shell("token", "list").stdout.startswith("rag-app\tinference.invoker\tall\t30d\t1\t")
    assert "credential 0123456789abcdef\tuntil 2026-01-02 03:04 UTC" in shell("token", "get", "rag-app").stdout
    assert shell("token", "revoke", "rag-app", "0123456789abcdef").stdout == "1 credential of rag-app revoked\n"
    assert shell("token", "revoke", "rag-app", "--all").stdout == "1 credential of rag-app revoked\n"
    assert shell("token", "delete", "rag-app").stdout == "token rag-app deleted\n"
    assert "--all" in shell("token", "revoke", "rag-app", status=2).stderr


def test_project_create_update_list_delete(shell: Shell) -> None:
    path = "/v1/projects/acme"
    shell.api.on("PUT", path, (201, bodies.project())).on("GET", path, tagged(bodies.project(), '"1-0"')).on("DELETE", path, (204, None))
    shell.api.on("GET", "/v1/projects", (200, bodies.page(bodies.project())))
    shell(
        *[
            "project",
            "create",
            "--name",
            "acme",
            "--artifact-prefix",
            "s3://acme-models/",
            "--artifact-prefix",
            "file:///srv/",
            "--label",
            "a=b",
        ]
    )
    assert shell.api.body() == {"spec": {"artifact_prefixes": ["s3://acme-models/", "file:///srv/"], "labels": {"a": "b"}}}
    shell(*["project", "update", "--name", "acme", "--display-name", "Acme"])
    assert shell.api.body() == {"spec": {"artifact_prefixes": ["file:///models/"], "display_name": "Acme"}}
    assert "nothing to change" in shell("project", "update", "--name", "acme", status=2).stderr
    assert shell("project", "list").stdout.startswith("acme\t\tfile:///models/\t")
    assert shell("project", "delete", "acme").stdout == "project acme deleted\n"


def test_role_binding_set_list_delete(shell: Shell) -> None:
    path = "/v1/projects/*/role-bindings/user:rahim"
    shell.api.on("PUT", path, (200, bodies.role_binding())).on("DELETE", f"{ACME}/role-bindings/user:rahim", (204, None))
    shell.api.on("GET", f"{ACME}/role-bindings", (200, bodies.page(bodies.role_binding())))
    shell("role-binding", "set", "--project", "*", "--principal", "user:rahim", "--role", "inference.admin")
    assert shell.api.body() == {"spec": {"roles": ["inference.admin"]}}
    assert shell("role-binding", "list").stdout.startswith("user:rahim\tinference.deployer\t")
    shell("role-binding", "delete", "user:rahim")


def test_instance_type_set_list_delete(shell: Shell) -> None:
    path = "/v1/instance-types/cpu-small"
    shell.api.on("PUT", path, (200, bodies.instance_type())).on("DELETE", path, (204, None))
    shell.api.on("GET", "/v1/instance-types", (200, bodies.page(bodies.instance_type())))
    shell(*["instance-type", "set", "--name", "cpu-small", "--cpu-millis", "500", "--memory-mib", "5120", "--vm-rate-bdt", "12.50"])
    assert shell.api.body() == {"spec": {"cpu_millis": 500, "memory_mib": 5120, "vm_rate_bdt": "12.50"}}
    assert shell("instance-type", "list").stdout == "cpu-small\t\t500\t5120\t\n"
    shell("instance-type", "delete", "cpu-small")


def test_engine_set_list_delete(shell: Shell) -> None:
    path = "/v1/engines/stub"
    shell.api.on("PUT", path, (200, bodies.engine())).on("DELETE", path, (204, None))
    shell.api.on("GET", "/v1/engines", (200, bodies.page(bodies.engine())))
    shell("engine", "set", "--name", "stub", "--routes", "raw", "--", "stub", "--socket", "{socket}")
    assert shell.api.body() == {"spec": {"argv": ["stub", "--socket", "{socket}"], "routes": "raw"}}
    assert shell("engine", "list").stdout == "stub\t\t\t\tstub {socket}\n"
    shell("engine", "delete", "stub")


def test_replicas_and_logs(shell: Shell) -> None:
    path = f"{ACME}/endpoints/prod/replicas"
    shell.api.on("GET", path, (200, bodies.page(bodies.replica("r-1"), bodies.replica("r-2"))))
    for id_ in ("r-1", "r-2"):
        shell.api.on("GET", f"{path}/{id_}/log", (200, {"replica_id": id_, "lines": [f"hello from {id_}"]}))
    assert shell("replicas", "--endpoint", "prod").stdout.splitlines()[0].startswith("r-1\tv1.4\tacme-summarizer:v1.4\tReady\thost-1\t1m\t")
    assert shell("logs", "--endpoint", "prod").stdout == "r-1 | hello from r-1\nr-2 | hello from r-2\n"
    assert shell("logs", "--endpoint", "prod", "--replica", "r-2", "--lines", "5").stdout == "hello from r-2\n"
    assert shell.api.requests[-1].url.params["lines"] == "5"
    assert json.loads(shell("logs", "--endpoint", "prod", "--replica", "r-1", "--output", "json").stdout)[0]["lines"] == ["hello from r-1"]


def test_logs_of_a_replica_find_its_endpoint(shell: Shell) -> None:
    shell.api.on("GET", f"{ACME}/endpoints", (200, bodies.page(bodies.endpoint(name="other"), bodies.endpoint(name="prod"))))
    shell.api.on("GET", f"{ACME}/endpoints/prod/replicas/r-1/log", (200, {"replica_id": "r-1", "lines": ["hello"]}))
    assert shell("logs", "--replica", "r-1").stdout == "hello\n"
    assert "no endpoint of the project has a replica 'r-9'" in shell("logs", "--replica", "r-9", status=1).stderr
    assert "--endpoint" in shell("logs", status=2).stderr


def test_logs_of_an_endpoint_without_replicas_say_where_to_look(shell: Shell) -> None:
    shell.api.on("GET", f"{ACME}/endpoints/prod/replicas", (200, bodies.page()))
    assert "endpoint events prod" in shell("logs", "--endpoint", "prod", status=1).stderr


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (httpx2.ConnectError("refused"), "`fleetform up`"),
        ((401, problem(401, "unauthenticated", "the token has expired")), "source .fleetform/env"),
        ((403, problem(403, "forbidden", "needs the role inference.viewer")), "needs the role inference.viewer"),
        ((503, problem(503, "unavailable", "the database is away")), "under request req-1"),
        (httpx2.Response(200, content=b"<html>"), "not what the contract says"),
    ],
)
def test_each_failure_is_one_sentence_with_a_remedy(shell: Shell, answer: object, said: str) -> None:
    shell.api.on("GET", f"{ACME}/endpoints", answer)  # type: ignore[arg-type]  # an Answer, which parametrize widens
    result = shell("endpoint", "list", status=1)
    assert said in result.stderr
    assert "Traceback" not in result.output
