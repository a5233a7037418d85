"""The SDK against the real control API and a real database."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import fleetform_sdk as sdk
from fleetform.domain.access import Role
from fleetform.domain.conditions import ConditionType, Reason
from tests.control_api import Api, control_api

pytestmark = [pytest.mark.anyio, pytest.mark.postgres]
SPEC: sdk.fields.EndpointSpec = {"instance_type": "cpu-small", "variants": {"v1": {"model_version": "m:v1"}}}


@pytest.fixture
async def api(store: str, tmp_path: Path) -> AsyncIterator[Api]:
    async with control_api(tmp_path) as made:
        await made.project("acme", 10, "v1", "v2")
        yield made


@pytest.fixture
def client(api: Api) -> sdk.AsyncClient:
    """The SDK in the hands of the region's administrator."""
    return sdk.AsyncClient(api.key, base_url="http://api.test", project="acme", http_client=api.client, max_retries=0)


async def test_a_region_is_set_up(client: sdk.AsyncClient) -> None:
    await client.instance_types.apply("gpu-a10-1x", cpu_millis=8000, memory_mib=65536, accelerator="a10", accelerator_count=1)
    await client.engines.apply("stub", argv=["stub", "--socket", "{socket}"], routes="openai")
    await client.projects.apply("rag", display_name="RAG", artifact_prefixes=["s3://rag-models/"], create_only=True)
    with pytest.raises(sdk.PreconditionFailedError):
        await client.projects.apply("rag", create_only=True)
    changed = await client.projects.update("rag", lambda spec: {**spec, "labels": {"team": "a"}})
    assert changed.spec.artifact_prefixes == ["s3://rag-models/"]
    quota = await client.quotas.apply("gpu-a10-1x", max_replicas=4, project="rag")
    assert (quota.status.used, quota.status.free) == (0, 4)
    await client.role_bindings.apply("user:rahim", roles=["inference.deployer"], project="rag")
    assert [b.metadata.name async for b in client.role_bindings.list(project="rag")] == ["user:rahim"]
    assert {p.metadata.name async for p in client.projects.list()} >= {"acme", "rag"}
    assert "gpu-a10-1x" in {t.metadata.name async for t in client.instance_types.list()}
    assert (await client.engines.get("stub")).spec.routes == "openai"
    assert (await client.region.get()).name == "local"


async def test_a_split_is_read_changed_and_written(client: sdk.AsyncClient) -> None:
    await client.endpoints.apply("chat", SPEC, create_only=True)
    changed = await client.endpoints.set_traffic("chat", {"v1": 90, "v2": 10})
    assert {name: v.weight for name, v in changed.spec.variants.items()} == {"v1": 90, "v2": 10}
    assert changed.metadata.generation == 2
    same = await client.endpoints.set_traffic("chat", {"v1": 90, "v2": 10})
    assert same.metadata.generation == 2
    with pytest.raises(sdk.UnprocessableError) as caught:
        await client.endpoints.set_traffic("chat", {"v1": 90, "v9": 10})
    assert [error.pointer for error in caught.value.errors] == ["/spec/variants/v9/model_version"]


async def test_a_spec_comes_back_as_it_was_sent(client: sdk.AsyncClient) -> None:
    sent = sdk.types.EndpointSpec(
        instance_type="cpu-small",
        variants={"v1": sdk.types.VariantSpec(model_version="m:v1", engine_args={"max_model_len": "2048"})},
        rollout=sdk.types.RolloutSpec(steps=[50, 100], bake_s=0),
        labels={"team": "a"},
    )
    assert (await client.endpoints.apply("chat", sent)).spec == sent
    assert (await client.endpoints.get("chat")).spec == sent


async def test_all_wrong_fields_are_told_at_once(client: sdk.AsyncClient) -> None:
    wrong = {
        "instance_type": "nothing",
        "variants": {"v1": {"model_version": "m:v1"}},
        "scaling": {"min_replicas": 3, "max_replicas": 2},
        "x": 1,
    }
    with pytest.raises(sdk.UnprocessableError) as caught:
        await client.endpoints.apply("chat", wrong)
    assert caught.value.kind == "invalid-spec"
    assert "/spec/x" in {error.pointer for error in caught.value.errors}
    assert caught.value.request_id


async def test_kinds_of_refusal(client: sdk.AsyncClient, api: Api) -> None:
    with pytest.raises(sdk.ConflictError) as immutable:
        await client.model_versions.apply("m", "v1", artifact="file:///models/other", framework="pytorch", runtime="cpu")
    assert immutable.value.kind == "immutable"
    await client.endpoints.apply("chat", {**SPEC, "deletion_protection": True})
    with pytest.raises(sdk.ConflictError) as protected:
        await client.endpoints.delete("chat")
    assert protected.value.kind == "protected"
    with pytest.raises(sdk.ConflictError) as used:
        await client.model_versions.delete("m", "v1")
    assert used.value.extensions["references"]
    with pytest.raises(sdk.NotFoundError):
        await client.endpoints.get("nothing")
    for name in ("..", "a/b", "Upper"):
        with pytest.raises(sdk.APIStatusError) as odd:
            await client.endpoints.get(name)
        assert odd.value.status_code in (404, 422)
    key = await api.key_for("acme", Role.VIEWER)
    viewer = sdk.AsyncClient(key, base_url="http://api.test", project="acme", http_client=api.client, max_retries=0)
    with pytest.raises(sdk.PermissionDeniedError, match=r"inference\.deployer"):
        await viewer.endpoints.apply("chat", SPEC)
    stranger = sdk.AsyncClient("cd-forged", base_url="http://api.test", project="acme", http_client=api.client, max_retries=0)
    with pytest.raises(sdk.AuthenticationError):
        await stranger.endpoints.get("chat")


async def test_a_token_is_minted_and_revoked(client: sdk.AsyncClient) -> None:
    await client.tokens.apply("rag-app", roles=["inference.invoker"], ttl_days=30, create_only=True)
    credential = await client.tokens.mint("rag-app", ttl="1h")
    assert credential.secret.startswith("cd-")
    assert credential.secret not in repr(credential)
    found = await client.tokens.get("rag-app")
    assert [live.id for live in found.status.credentials] == [credential.id]
    await client.tokens.revoke("rag-app", credential.id)
    assert (await client.tokens.get("rag-app")).status.credentials == []
    assert await client.endpoints.list().all() == []


async def test_lists_page_by_themselves(client: sdk.AsyncClient) -> None:
    names = [f"t-{index:03}" for index in range(60)]
    for name in names:
        await client.tokens.apply(name, roles=["inference.invoker"])
    assert [token.metadata.name async for token in client.tokens.list() if token.metadata.name.startswith("t-")] == names
    assert len([page async for page in client.tokens.list().pages()]) > 1


async def test_what_happens_is_listed(client: sdk.AsyncClient) -> None:
    await client.endpoints.apply("chat", SPEC)
    assert [event.reason async for event in client.endpoints.events("chat")][-1] == "Created"
    assert await client.endpoints.replicas("chat").all() == []
    with pytest.raises(sdk.NotFoundError):
        await client.endpoints.logs("chat", "r-1")


async def test_a_wait_in_vain_tells_where_things_stand(client: sdk.AsyncClient) -> None:
    applied = await client.endpoints.apply("chat", SPEC)
    with pytest.raises(sdk.WaitTimeout) as caught:
        await client.endpoints.wait_until_ready("chat", generation=applied.metadata.generation, timeout=0)
    assert isinstance(caught.value.resource, sdk.types.Endpoint)
    with pytest.raises(sdk.WaitTimeout):
        await client.model_versions.wait_until_verified("m", "v1", timeout=0)


async def test_the_reasons_the_rules_look_for_are_the_servers(client: sdk.AsyncClient) -> None:
    """A renamed reason would make every wait last until its time is over."""
    assert {"Ready", "Progressing", "Admitted", "Degraded", "Verified"} <= {type_.value for type_ in ConditionType}
    assert {"RolledBack", "Stalled", "VersionNotVerified", "Verifying"} <= {reason.value for reason in Reason}
