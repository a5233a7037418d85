"""Quotas: how many replicas of an instance type a project may hold."""

from typing import Any

from litestar import Controller, Request, Response, delete, get, put
from litestar.di import NamedDependency
from litestar.params import FromPath

from fleetform.domain.access import Role
from fleetform.domain.project import Quota
from fleetform.routes.access import route
from fleetform.routes.bodies import QuotaList, QuotaPut
from fleetform.routes.dependencies import Dependencies
from fleetform.routes.http import answer, etag, precondition, read, written
from fleetform.routes.parameters import Cursor, Limit
from fleetform.store import quotas


class QuotaController(Controller):
    """Set by administrators of the project up to the type's `self_service_max`, beyond it by the region's."""

    path = "/v1/projects/{project:str}/quotas"
    tags = ["quotas"]

    @get("/", operation_id="list_quotas", opt=route(Role.VIEWER, answers={200: QuotaList}))
    async def list_quotas(self, project: FromPath[str], limit: Limit = 50, cursor: Cursor = None) -> QuotaList:
        """List a project's quotas with what is used, by instance type."""
        page = await quotas.page(project, limit, cursor)
        return QuotaList(items=page.items, next_cursor=page.next_cursor)

    @get("/{instance_type:str}", operation_id="get_quota", opt=route(Role.VIEWER, answers={200: Quota}, etag=True))
    async def get_quota(self, project: FromPath[str], instance_type: FromPath[str]) -> Response[Quota]:
        """Get a quota with what is used and by whom."""
        found = await quotas.get(project, instance_type)
        return answer(found, etag(found.metadata.generation))

    @put(
        "/{instance_type:str}", operation_id="put_quota", opt=route(Role.ADMIN, body=QuotaPut, answers={200: Quota, 201: Quota}, etag=True)
    )
    async def put_quota(
        self, request: Request[Any, Any, Any], project: FromPath[str], instance_type: FromPath[str], deps: NamedDependency[Dependencies]
    ) -> Response[Quota]:
        """Create or replace a quota. Below what is used it is 409, with the holders."""
        body = await read(request, QuotaPut)
        outcome = await quotas.put(project, instance_type, body.spec, request.auth, precondition(request), deps.now())
        return written(outcome, etag(outcome.resource.metadata.generation))

    @delete("/{instance_type:str}", operation_id="delete_quota", opt=route(Role.ADMIN, answers={204: None}, etag=True))
    async def delete_quota(self, request: Request[Any, Any, Any], project: FromPath[str], instance_type: FromPath[str]) -> None:
        """Delete a quota. 409 with the endpoints that hold part of it."""
        await quotas.delete(project, instance_type, precondition(request))
