"""Generated from openapi.yaml by `make generate`; do not edit."""

from fleetform_sdk._call import Call, given, segment
from fleetform_sdk._generated import models


def list_projects(*, limit: int | None = None, cursor: str | None = None) -> Call[models.ProjectList]:
    """List projects."""
    return Call(
        operation="list_projects", method="GET", path="/v1/projects", response=models.ProjectList, query=given(limit=limit, cursor=cursor)
    )


def get_project(*, name: str, if_none_match: str | None = None) -> Call[models.Project]:
    """Get project."""
    return Call(
        operation="get_project",
        method="GET",
        path=f"/v1/projects/{segment(name)}",
        response=models.Project,
        headers=given(**{"if-none-match": if_none_match}),
    )


def put_project(*, name: str, body: object, if_match: str | None = None, if_none_match: str | None = None) -> Call[models.Project]:
    """Put project."""
    return Call(
        operation="put_project",
        method="PUT",
        path=f"/v1/projects/{segment(name)}",
        response=models.Project,
        headers=given(**{"if-match": if_match, "if-none-match": if_none_match}),
        body=body,
    )


def delete_project(*, name: str, if_match: str | None = None) -> Call[None]:
    """Delete project."""
    return Call(
        operation="delete_project",
        method="DELETE",
        path=f"/v1/projects/{segment(name)}",
        response=None,
        headers=given(**{"if-match": if_match}),
    )


def list_instance_types(*, limit: int | None = None, cursor: str | None = None) -> Call[models.InstanceTypeList]:
    """List instance types."""
    return Call(
        operation="list_instance_types",
        method="GET",
        path="/v1/instance-types",
        response=models.InstanceTypeList,
        query=given(limit=limit, cursor=cursor),
    )


def get_instance_type(*, name: str, if_none_match: str | None = None) -> Call[models.InstanceType]:
    """Get instance type."""
    return Call(
        operation="get_instance_type",
        method="GET",
        path=f"/v1/instance-types/{segment(name)}",
        response=models.InstanceType,
        headers=given(**{"if-none-match": if_none_match}),
    )


def put_instance_type(
    *, name: str, body: object, if_match: str | None = None, if_none_match: str | None = None
) -> Call[models.InstanceType]:
    """Put instance type."""
    return Call(
        operation="put_instance_type",
        method="PUT",
        path=f"/v1/instance-types/{segment(name)}",
        response=models.InstanceType,
        headers=given(**{"if-match": if_match, "if-none-match": if_none_match}),
        body=body,
    )


def delete_instance_type(*, name: str, if_match: str | None = None) -> Call[None]:
    """Delete instance type."""
    return Call(
        operation="delete_instance_type",
        method="DELETE",
        path=f"/v1/instance-types/{segment(name)}",
        response=None,
        headers=given(**{"if-match": if_match}),
    )


def list_engines(*, limit: int | None = None, cursor: str | None = None) -> Call[models.EngineList]:
    """List engines."""
    return Call(
        operation="list_engines", method="GET", path="/v1/engines", response=models.EngineList, query=given(limit=limit, cursor=cursor)
    )


def get_engine(*, name: str, if_none_match: str | None = None) -> Call[models.Engine]:
    """Get engine."""
    return Call(
        operation="get_engine",
        method="GET",
        path=f"/v1/engines/{segment(name)}",
        response=models.Engine,
        headers=given(**{"if-none-match": if_none_match}),
    )


def put_engine(*, name: str, body: object, if_match: str | None = None, if_none_match: str | None = None) -> Call[models.Engine]:
    """Put engine."""
    return Call(
        operation="put_engine",
        method="PUT",
        path=f"/v1/engines/{segment(name)}",
        response=models.Engine,
        headers=given(**{"if-match": if_match, "if-none-match": if_none_match}),
        body=body,
    )


def delete_engine(*, name: str, if_match: str | None = None) -> Call[None]:
    """Delete engine."""
    return Call(
        operation="delete_engine",
        method="DELETE",
        path=f"/v1/engines/{segment(name)}",
        response=None,
        headers=given(**{"if-match": if_match}),
    )


def list_endpoints(*, project: str, limit: int | None = None, cursor: str | None = None) -> Call[models.EndpointList]:
    """List endpoints."""
    return Call(
        operation="list_endpoints",
        method="GET",
        path=f"/v1/projects/{segment(project)}/endpoints",
        response=models.EndpointList,
        query=given(limit=limit, cursor=cursor),
    )


def get_endpoint(
    *,
    project: str,
    name: str,
    wait_for: str | None = None,
    generation: int | None = None,
    timeout_s: int | None = None,
    if_none_match: str | None = None,
) -> Call[models.Endpoint]:
    """Get endpoint."""
    return Call(
        operation="get_endpoint",
        method="GET",
        path=f"/v1/projects/{segment(project)}/endpoints/{segment(name)}",
        response=models.Endpoint,
        query=given(wait_for=wait_for, generation=generation, timeout_s=timeout_s),
        headers=given(**{"if-none-match": if_none_match}),
    )


def put_endpoint(
    *, project: str, name: str, body: object, if_match: str | None = None, if_none_match: str | None = None
) -> Call[models.Endpoint]:
    """Put endpoint."""
    return Call(
        operation="put_endpoint",
        method="PUT",
        path=f"/v1/projects/{segment(project)}/endpoints/{segment(name)}",
        response=models.Endpoint,
        headers=given(**{"if-match": if_match, "if-none-match": if_none_match}),
        body=body,
    )


def delete_endpoint(*, project: str, name: str, if_match: str | None = None) -> Call[None]:
    """Delete endpoint."""
    return Call(
        operation="delete_endpoint",
        method="DELETE",
        path=f"/v1/projects/{segment(project)}/endpoints/{segment(name)}",
        response=None,
        headers=given(**{"if-match": if_match}),
    )


def list_model_versions(
    *, project: str, limit: int | None = None, cursor: str | None = None, model: str | None = None
) -> Call[models.ModelVersionList]:
    """List model versions."""
    return Call(
        operation="list_model_versions",
        method="GET",
        path=f"/v1/projects/{segment(project)}/model-versions",
        response=models.ModelVersionList,
        query=given(limit=limit, cursor=cursor, model=model),
    )


def get_model_version(
    *,
    project: str,
    model: str,
    version: str,
    wait_for: str | None = None,
    generation: int | None = None,
    timeout_s: int | None = None,
    if_none_match: str | None = None,
) -> Call[models.ModelVersion]:
    """Get model version."""
    return Call(
        operation="get_model_version",
        method="GET",
        path=f"/v1/projects/{segment(project)}/model-versions/{segment(model)}/{segment(version)}",
        response=models.ModelVersion,
        query=given(wait_for=wait_for, generation=generation, timeout_s=timeout_s),
        headers=given(**{"if-none-match": if_none_match}),
    )


def put_model_version(
    *, project: str, model: str, version: str, body: object, if_match: str | None = None, if_none_match: str | None = None
) -> Call[models.ModelVersion]:
    """Put model version."""
    return Call(
        operation="put_model_version",
        method="PUT",
        path=f"/v1/projects/{segment(project)}/model-versions/{segment(model)}/{segment(version)}",
        response=models.ModelVersion,
        headers=given(**{"if-match": if_match, "if-none-match": if_none_match}),
        body=body,
    )


def delete_model_version(*, project: str, model: str, version: str, if_match: str | None = None) -> Call[None]:
    """Delete model version."""
    return Call(
        operation="delete_model_version",
        method="DELETE",
        path=f"/v1/projects/{segment(project)}/model-versions/{segment(model)}/{segment(version)}",
        response=None,
        headers=given(**{"if-match": if_match}),
    )


def list_quotas(*, project: str, limit: int | None = None, cursor: str | None = None) -> Call[models.QuotaList]:
    """List quotas."""
    return Call(
        operation="list_quotas",
        method="GET",
        path=f"/v1/projects/{segment(project)}/quotas",
        response=models.QuotaList,
        query=given(limit=limit, cursor=cursor),
    )


def get_quota(*, project: str, instance_type: str, if_none_match: str | None = None) -> Call[models.Quota]:
    """Get quota."""
    return Call(
        operation="get_quota",
        method="GET",
        path=f"/v1/projects/{segment(project)}/quotas/{segment(instance_type)}",
        response=models.Quota,
        headers=given(**{"if-none-match": if_none_match}),
    )


def put_quota(
    *, project: str, instance_type: str, body: object, if_match: str | None = None, if_none_match: str | None = None
) -> Call[models.Quota]:
    """Put quota."""
    return Call(
        operation="put_quota",
        method="PUT",
        path=f"/v1/projects/{segment(project)}/quotas/{segment(instance_type)}",
        response=models.Quota,
        headers=given(**{"if-match": if_match, "if-none-match": if_none_match}),
        body=body,
    )


def delete_quota(*, project: str, instance_type: str, if_match: str | None = None) -> Call[None]:
    """Delete quota."""
    return Call(
        operation="delete_quota",
        method="DELETE",
        path=f"/v1/projects/{segment(project)}/quotas/{segment(instance_type)}",
        response=None,
        headers=given(**{"if-match": if_match}),
    )


def list_tokens(*, project: str, limit: int | None = None, cursor: str | None = None) -> Call[models.TokenList]:
    """List tokens."""
    return Call(
        operation="list_tokens",
        method="GET",
        path=f"/v1/projects/{segment(project)}/tokens",
        response=models.TokenList,
        query=given(limit=limit, cursor=cursor),
    )


def get_token(*, project: str, name: str, if_none_match: str | None = None) -> Call[models.Token]:
    """Get token."""
    return Call(
        operation="get_token",
        method="GET",
        path=f"/v1/projects/{segment(project)}/tokens/{segment(name)}",
        response=models.Token,
        headers=given(**{"if-none-match": if_none_match}),
    )


def put_token(
    *, project: str, name: str, body: object, if_match: str | None = None, if_none_match: str | None = None
) -> Call[models.Token]:
    """Put token."""
    return Call(
        operation="put_token",
        method="PUT",
        path=f"/v1/projects/{segment(project)}/tokens/{segment(name)}",
        response=models.Token,
        headers=given(**{"if-match": if_match, "if-none-match": if_none_match}),
        body=body,
    )


def delete_token(*, project: str, name: str, if_match: str | None = None) -> Call[None]:
    """Delete token."""
    return Call(
        operation="delete_token",
        method="DELETE",
        path=f"/v1/projects/{segment(project)}/tokens/{segment(name)}",
        response=None,
        headers=given(**{"if-match": if_match}),
    )


def list_role_bindings(*, project: str, limit: int | None = None, cursor: str | None = None) -> Call[models.RoleBindingList]:
    """List role bindings."""
    return Call(
        operation="list_role_bindings",
        method="GET",
        path=f"/v1/projects/{segment(project)}/role-bindings",
        response=models.RoleBindingList,
        query=given(limit=limit, cursor=cursor),
    )


def get_role_binding(*, project: str, principal: str, if_none_match: str | None = None) -> Call[models.RoleBinding]:
    """Get role binding."""
    return Call(
        operation="get_role_binding",
        method="GET",
        path=f"/v1/projects/{segment(project)}/role-bindings/{segment(principal)}",
        response=models.RoleBinding,
        headers=given(**{"if-none-match": if_none_match}),
    )


def put_role_binding(
    *, project: str, principal: str, body: object, if_match: str | None = None, if_none_match: str | None = None
) -> Call[models.RoleBinding]:
    """Put role binding."""
    return Call(
        operation="put_role_binding",
        method="PUT",
        path=f"/v1/projects/{segment(project)}/role-bindings/{segment(principal)}",
        response=models.RoleBinding,
        headers=given(**{"if-match": if_match, "if-none-match": if_none_match}),
        body=body,
    )


def delete_role_binding(*, project: str, principal: str, if_match: str | None = None) -> Call[None]:
    """Delete role binding."""
    return Call(
        operation="delete_role_binding",
        method="DELETE",
        path=f"/v1/projects/{segment(project)}/role-bindings/{segment(principal)}",
        response=None,
        headers=given(**{"if-match": if_match}),
    )


def list_replicas(*, project: str, name: str, limit: int | None = None, cursor: str | None = None) -> Call[models.ReplicaViewList]:
    """List replicas."""
    return Call(
        operation="list_replicas",
        method="GET",
        path=f"/v1/projects/{segment(project)}/endpoints/{segment(name)}/replicas",
        response=models.ReplicaViewList,
        query=given(limit=limit, cursor=cursor),
    )


def list_endpoint_events(*, project: str, name: str, limit: int | None = None, cursor: str | None = None) -> Call[models.EventList]:
    """List endpoint events."""
    return Call(
        operation="list_endpoint_events",
        method="GET",
        path=f"/v1/projects/{segment(project)}/endpoints/{segment(name)}/events",
        response=models.EventList,
        query=given(limit=limit, cursor=cursor),
    )


def get_replica_log(*, project: str, name: str, replica: str | None = None, lines: int | None = None) -> Call[models.LogLines]:
    """Get replica log."""
    return Call(
        operation="get_replica_log",
        method="GET",
        path=f"/v1/projects/{segment(project)}/endpoints/{segment(name)}/logs",
        response=models.LogLines,
        query=given(replica=replica, lines=lines),
    )


def mint_credential(*, project: str, name: str, body: object) -> Call[models.Credential]:
    """Mint credential."""
    return Call(
        operation="mint_credential",
        method="POST",
        path=f"/v1/projects/{segment(project)}/tokens/{segment(name)}/credentials",
        response=models.Credential,
        body=body,
    )


def revoke_credential(*, project: str, name: str, id: str) -> Call[None]:
    """Revoke credential."""
    return Call(
        operation="revoke_credential",
        method="DELETE",
        path=f"/v1/projects/{segment(project)}/tokens/{segment(name)}/credentials/{segment(id)}",
        response=None,
    )
