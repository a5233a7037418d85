"""Generated from openapi.yaml by `make generate`; do not edit."""

from fleetform_sdk._call import Call, given, segment
from fleetform_sdk._generated import models


def list_engines(*, cursor: str | None = None, limit: int | None = None) -> Call[models.EngineList]:
    """List the declared engines, by name."""
    return Call(
        operation="list_engines", method="GET", path="/v1/engines", response=models.EngineList, query=given(cursor=cursor, limit=limit)
    )


def get_engine(*, name: str) -> Call[models.Engine]:
    """Get a declared engine."""
    return Call(operation="get_engine", method="GET", path=f"/v1/engines/{segment(name)}", response=models.Engine)


def put_engine(*, name: str, body: object, if_match: str | None = None, if_none_match: str | None = None) -> Call[models.Engine]:
    """Create or replace a declared engine."""
    return Call(
        operation="put_engine",
        method="PUT",
        path=f"/v1/engines/{segment(name)}",
        response=models.Engine,
        headers=given(**{"if-match": if_match, "if-none-match": if_none_match}),
        body=body,
    )


def delete_engine(*, name: str, if_match: str | None = None) -> Call[None]:
    """Delete a declared engine."""
    return Call(
        operation="delete_engine",
        method="DELETE",
        path=f"/v1/engines/{segment(name)}",
        response=None,
        headers=given(**{"if-match": if_match}),
    )


def list_instance_types(*, cursor: str | None = None, limit: int | None = None) -> Call[models.InstanceTypeList]:
    """List the region's instance types, by name."""
    return Call(
        operation="list_instance_types",
        method="GET",
        path="/v1/instance-types",
        response=models.InstanceTypeList,
        query=given(cursor=cursor, limit=limit),
    )


def get_instance_type(*, name: str) -> Call[models.InstanceType]:
    """Get an instance type."""
    return Call(operation="get_instance_type", method="GET", path=f"/v1/instance-types/{segment(name)}", response=models.InstanceType)


def put_instance_type(
    *, name: str, body: object, if_match: str | None = None, if_none_match: str | None = None
) -> Call[models.InstanceType]:
    """Create or replace an instance type."""
    return Call(
        operation="put_instance_type",
        method="PUT",
        path=f"/v1/instance-types/{segment(name)}",
        response=models.InstanceType,
        headers=given(**{"if-match": if_match, "if-none-match": if_none_match}),
        body=body,
    )


def delete_instance_type(*, name: str, if_match: str | None = None) -> Call[None]:
    """Delete an instance type."""
    return Call(
        operation="delete_instance_type",
        method="DELETE",
        path=f"/v1/instance-types/{segment(name)}",
        response=None,
        headers=given(**{"if-match": if_match}),
    )


def list_projects(*, cursor: str | None = None, limit: int | None = None) -> Call[models.ProjectList]:
    """List the projects in which the caller holds a role, by name."""
    return Call(
        operation="list_projects", method="GET", path="/v1/projects", response=models.ProjectList, query=given(cursor=cursor, limit=limit)
    )


def get_project(*, project: str) -> Call[models.Project]:
    """Get a project."""
    return Call(operation="get_project", method="GET", path=f"/v1/projects/{segment(project)}", response=models.Project)


def put_project(*, project: str, body: object, if_match: str | None = None, if_none_match: str | None = None) -> Call[models.Project]:
    """Create or replace a project."""
    return Call(
        operation="put_project",
        method="PUT",
        path=f"/v1/projects/{segment(project)}",
        response=models.Project,
        headers=given(**{"if-match": if_match, "if-none-match": if_none_match}),
        body=body,
    )


def delete_project(*, project: str, if_match: str | None = None) -> Call[None]:
    """Delete a project."""
    return Call(
        operation="delete_project",
        method="DELETE",
        path=f"/v1/projects/{segment(project)}",
        response=None,
        headers=given(**{"if-match": if_match}),
    )


def list_endpoints(*, project: str, cursor: str | None = None, limit: int | None = None) -> Call[models.EndpointList]:
    """List a project's endpoints, by name."""
    return Call(
        operation="list_endpoints",
        method="GET",
        path=f"/v1/projects/{segment(project)}/endpoints",
        response=models.EndpointList,
        query=given(cursor=cursor, limit=limit),
    )


def get_endpoint(
    *, name: str, project: str, generation: int | None = None, timeout_s: int | None = None, wait_for: str | None = None
) -> Call[models.Endpoint]:
    """Get an endpoint; with `wait_for`, wait until it is ready, or gone."""
    return Call(
        operation="get_endpoint",
        method="GET",
        path=f"/v1/projects/{segment(project)}/endpoints/{segment(name)}",
        response=models.Endpoint,
        query=given(generation=generation, timeout_s=timeout_s, wait_for=wait_for),
    )


def put_endpoint(
    *, name: str, project: str, body: object, if_match: str | None = None, if_none_match: str | None = None
) -> Call[models.Endpoint]:
    """Create or replace an endpoint."""
    return Call(
        operation="put_endpoint",
        method="PUT",
        path=f"/v1/projects/{segment(project)}/endpoints/{segment(name)}",
        response=models.Endpoint,
        headers=given(**{"if-match": if_match, "if-none-match": if_none_match}),
        body=body,
    )


def delete_endpoint(*, name: str, project: str, if_match: str | None = None) -> Call[models.Endpoint]:
    """Tear an endpoint down: drain, stop, release."""
    return Call(
        operation="delete_endpoint",
        method="DELETE",
        path=f"/v1/projects/{segment(project)}/endpoints/{segment(name)}",
        response=models.Endpoint,
        headers=given(**{"if-match": if_match}),
    )


def list_endpoint_events(*, name: str, project: str, cursor: str | None = None, limit: int | None = None) -> Call[models.EventList]:
    """List what happened to an endpoint, newest first."""
    return Call(
        operation="list_endpoint_events",
        method="GET",
        path=f"/v1/projects/{segment(project)}/endpoints/{segment(name)}/events",
        response=models.EventList,
        query=given(cursor=cursor, limit=limit),
    )


def list_endpoint_replicas(*, name: str, project: str, cursor: str | None = None, limit: int | None = None) -> Call[models.ReplicaList]:
    """List an endpoint's replicas, by id."""
    return Call(
        operation="list_endpoint_replicas",
        method="GET",
        path=f"/v1/projects/{segment(project)}/endpoints/{segment(name)}/replicas",
        response=models.ReplicaList,
        query=given(cursor=cursor, limit=limit),
    )


def get_replica_log(*, name: str, project: str, replica_id: str, lines: int | None = None) -> Call[models.LogText]:
    """Get the end of a replica's engine log, secrets removed."""
    return Call(
        operation="get_replica_log",
        method="GET",
        path=f"/v1/projects/{segment(project)}/endpoints/{segment(name)}/replicas/{segment(replica_id)}/log",
        response=models.LogText,
        query=given(lines=lines),
    )


def list_endpoint_rollouts(*, name: str, project: str, cursor: str | None = None, limit: int | None = None) -> Call[models.RolloutList]:
    """List how an endpoint's traffic moved to each generation, newest first: steps, verdicts, and why one was rolled back."""
    return Call(
        operation="list_endpoint_rollouts",
        method="GET",
        path=f"/v1/projects/{segment(project)}/endpoints/{segment(name)}/rollouts",
        response=models.RolloutList,
        query=given(cursor=cursor, limit=limit),
    )


def list_model_versions(*, project: str, cursor: str | None = None, limit: int | None = None) -> Call[models.ModelVersionList]:
    """List a project's model versions, by model and version."""
    return Call(
        operation="list_model_versions",
        method="GET",
        path=f"/v1/projects/{segment(project)}/model-versions",
        response=models.ModelVersionList,
        query=given(cursor=cursor, limit=limit),
    )


def get_model_version(
    *, model: str, project: str, version: str, generation: int | None = None, timeout_s: int | None = None, wait_for: str | None = None
) -> Call[models.ModelVersion]:
    """Get a model version; `wait_for=ready` waits until it is verified or refused."""
    return Call(
        operation="get_model_version",
        method="GET",
        path=f"/v1/projects/{segment(project)}/model-versions/{segment(model)}/{segment(version)}",
        response=models.ModelVersion,
        query=given(generation=generation, timeout_s=timeout_s, wait_for=wait_for),
    )


def put_model_version(
    *, model: str, project: str, version: str, body: object, if_match: str | None = None, if_none_match: str | None = None
) -> Call[models.ModelVersion]:
    """Register a model version."""
    return Call(
        operation="put_model_version",
        method="PUT",
        path=f"/v1/projects/{segment(project)}/model-versions/{segment(model)}/{segment(version)}",
        response=models.ModelVersion,
        headers=given(**{"if-match": if_match, "if-none-match": if_none_match}),
        body=body,
    )


def delete_model_version(*, model: str, project: str, version: str, if_match: str | None = None) -> Call[None]:
    """Delete a model version."""
    return Call(
        operation="delete_model_version",
        method="DELETE",
        path=f"/v1/projects/{segment(project)}/model-versions/{segment(model)}/{segment(version)}",
        response=None,
        headers=given(**{"if-match": if_match}),
    )


def list_quotas(*, project: str, cursor: str | None = None, limit: int | None = None) -> Call[models.QuotaList]:
    """List a project's quotas with what is used, by instance type."""
    return Call(
        operation="list_quotas",
        method="GET",
        path=f"/v1/projects/{segment(project)}/quotas",
        response=models.QuotaList,
        query=given(cursor=cursor, limit=limit),
    )


def get_quota(*, instance_type: str, project: str) -> Call[models.Quota]:
    """Get a quota with what is used and by whom."""
    return Call(
        operation="get_quota", method="GET", path=f"/v1/projects/{segment(project)}/quotas/{segment(instance_type)}", response=models.Quota
    )


def put_quota(
    *, instance_type: str, project: str, body: object, if_match: str | None = None, if_none_match: str | None = None
) -> Call[models.Quota]:
    """Create or replace a quota."""
    return Call(
        operation="put_quota",
        method="PUT",
        path=f"/v1/projects/{segment(project)}/quotas/{segment(instance_type)}",
        response=models.Quota,
        headers=given(**{"if-match": if_match, "if-none-match": if_none_match}),
        body=body,
    )


def delete_quota(*, instance_type: str, project: str, if_match: str | None = None) -> Call[None]:
    """Delete a quota."""
    return Call(
        operation="delete_quota",
        method="DELETE",
        path=f"/v1/projects/{segment(project)}/quotas/{segment(instance_type)}",
        response=None,
        headers=given(**{"if-match": if_match}),
    )


def list_role_bindings(*, project: str, cursor: str | None = None, limit: int | None = None) -> Call[models.RoleBindingList]:
    """List a project's role bindings, by principal."""
    return Call(
        operation="list_role_bindings",
        method="GET",
        path=f"/v1/projects/{segment(project)}/role-bindings",
        response=models.RoleBindingList,
        query=given(cursor=cursor, limit=limit),
    )


def get_role_binding(*, principal: str, project: str) -> Call[models.RoleBinding]:
    """Get the roles bound to a principal in a project."""
    return Call(
        operation="get_role_binding",
        method="GET",
        path=f"/v1/projects/{segment(project)}/role-bindings/{segment(principal)}",
        response=models.RoleBinding,
    )


def put_role_binding(
    *, principal: str, project: str, body: object, if_match: str | None = None, if_none_match: str | None = None
) -> Call[models.RoleBinding]:
    """Create or replace a role binding."""
    return Call(
        operation="put_role_binding",
        method="PUT",
        path=f"/v1/projects/{segment(project)}/role-bindings/{segment(principal)}",
        response=models.RoleBinding,
        headers=given(**{"if-match": if_match, "if-none-match": if_none_match}),
        body=body,
    )


def delete_role_binding(*, principal: str, project: str, if_match: str | None = None) -> Call[None]:
    """Delete a role binding."""
    return Call(
        operation="delete_role_binding",
        method="DELETE",
        path=f"/v1/projects/{segment(project)}/role-bindings/{segment(principal)}",
        response=None,
        headers=given(**{"if-match": if_match}),
    )


def list_tokens(*, project: str, cursor: str | None = None, limit: int | None = None) -> Call[models.TokenList]:
    """List a project's tokens, by name."""
    return Call(
        operation="list_tokens",
        method="GET",
        path=f"/v1/projects/{segment(project)}/tokens",
        response=models.TokenList,
        query=given(cursor=cursor, limit=limit),
    )


def get_token(*, name: str, project: str) -> Call[models.Token]:
    """Get a token with its live credentials, never their secrets."""
    return Call(operation="get_token", method="GET", path=f"/v1/projects/{segment(project)}/tokens/{segment(name)}", response=models.Token)


def put_token(
    *, name: str, project: str, body: object, if_match: str | None = None, if_none_match: str | None = None
) -> Call[models.Token]:
    """Create or replace a token."""
    return Call(
        operation="put_token",
        method="PUT",
        path=f"/v1/projects/{segment(project)}/tokens/{segment(name)}",
        response=models.Token,
        headers=given(**{"if-match": if_match, "if-none-match": if_none_match}),
        body=body,
    )


def delete_token(*, name: str, project: str, if_match: str | None = None) -> Call[None]:
    """Delete a token: its credentials are revoked and its role bindings go."""
    return Call(
        operation="delete_token",
        method="DELETE",
        path=f"/v1/projects/{segment(project)}/tokens/{segment(name)}",
        response=None,
        headers=given(**{"if-match": if_match}),
    )


def create_token_credential(*, name: str, project: str, body: object) -> Call[models.Credential]:
    """Mint a credential."""
    return Call(
        operation="create_token_credential",
        method="POST",
        path=f"/v1/projects/{segment(project)}/tokens/{segment(name)}/credentials",
        response=models.Credential,
        body=body,
    )


def delete_token_credential(*, credential_id: str, name: str, project: str) -> Call[None]:
    """Revoke a credential."""
    return Call(
        operation="delete_token_credential",
        method="DELETE",
        path=f"/v1/projects/{segment(project)}/tokens/{segment(name)}/credentials/{segment(credential_id)}",
        response=None,
    )


def get_region() -> Call[models.Region]:
    """Get the region's name and where its models are served."""
    return Call(operation="get_region", method="GET", path="/v1/region", response=models.Region)
