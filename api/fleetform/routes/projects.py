"""Projects and who holds which role in them."""

from typing import Any

from litestar import Controller, Request, Response, delete, get, put
from litestar.di import NamedDependency
from litestar.params import FromPath

from fleetform.domain.access import Role
from fleetform.domain.names import ALL_PROJECTS
from fleetform.domain.project import Project, RoleBinding
from fleetform.routes.access import ANYONE, MEMBER, REGION_ADMIN, route
from fleetform.routes.bodies import ProjectList, ProjectPut, RoleBindingList, RoleBindingPut
from fleetform.routes.dependencies import Dependencies
from fleetform.routes.http import answer, etag, precondition, read, written
from fleetform.routes.parameters import Cursor, Limit
from fleetform.store import bindings, projects


class ProjectController(Controller):
    """The project itself is the region administrators'; its members may read it."""

    path = "/v1/projects"
    tags = ["projects"]

    @get("/", operation_id="list_projects", opt=route(ANYONE, answers={200: ProjectList}))
    async def list_projects(self, request: Request[Any, Any, Any], limit: Limit = 50, cursor: Cursor = None) -> ProjectList:
        """List the projects in which the caller holds a role, by name."""
        names = None if ALL_PROJECTS in request.auth.roles else tuple(request.auth.roles)
        page = await projects.page(names, limit, cursor)
        return ProjectList(items=page.items, next_cursor=page.next_cursor)

    @get("/{project:str}", operation_id="get_project", opt=route(MEMBER, answers={200: Project}, etag=True))
    async def get_project(self, project: FromPath[str]) -> Response[Project]:
        """Get a project."""
        found = await projects.get(project)
        return answer(found, etag(found.metadata.generation))

    @put(
        "/{project:str}",
        operation_id="put_project",
        opt=route(REGION_ADMIN, body=ProjectPut, answers={200: Project, 201: Project}, etag=True),
    )
    async def put_project(
        self, request: Request[Any, Any, Any], project: FromPath[str], deps: NamedDependency[Dependencies]
    ) -> Response[Project]:
        """Create or replace a project."""
        body = await read(request, ProjectPut)
        outcome = await projects.put(project, body.spec, precondition(request), deps.now())
        return written(outcome, etag(outcome.resource.metadata.generation))

    @delete("/{project:str}", operation_id="delete_project", opt=route(REGION_ADMIN, answers={204: None}, etag=True))
    async def delete_project(self, request: Request[Any, Any, Any], project: FromPath[str]) -> None:
        """Delete a project. 409 with what is still in it."""
        await projects.delete(project, precondition(request))


class RoleBindingController(Controller):
    """Bindings of the project `*` hold in the whole region; only its administrators see and change them."""

    path = "/v1/projects/{project:str}/role-bindings"
    tags = ["role bindings"]

    @get("/", operation_id="list_role_bindings", opt=route(Role.ADMIN, answers={200: RoleBindingList}, everywhere=True))
    async def list_role_bindings(self, project: FromPath[str], limit: Limit = 50, cursor: Cursor = None) -> RoleBindingList:
        """List a project's role bindings, by principal."""
        page = await bindings.page(project, limit, cursor)
        return RoleBindingList(items=page.items, next_cursor=page.next_cursor)

    @get(
        "/{principal:str}",
        operation_id="get_role_binding",
        opt=route(Role.ADMIN, answers={200: RoleBinding}, etag=True, everywhere=True),
    )
    async def get_role_binding(self, project: FromPath[str], principal: FromPath[str]) -> Response[RoleBinding]:
        """Get the roles bound to a principal in a project."""
        found = await bindings.get(project, principal)
        return answer(found, etag(found.metadata.generation))

    @put(
        "/{principal:str}",
        operation_id="put_role_binding",
        opt=route(Role.ADMIN, body=RoleBindingPut, answers={200: RoleBinding, 201: RoleBinding}, etag=True, everywhere=True),
    )
    async def put_role_binding(
        self,
        request: Request[Any, Any, Any],
        project: FromPath[str],
        principal: FromPath[str],
        deps: NamedDependency[Dependencies],
    ) -> Response[RoleBinding]:
        """Create or replace a role binding. Nobody grants a role that they do not hold."""
        body = await read(request, RoleBindingPut)
        outcome = await bindings.put(project, principal, body.spec, request.auth, precondition(request), deps.now())
        return written(outcome, etag(outcome.resource.metadata.generation))

    @delete(
        "/{principal:str}",
        operation_id="delete_role_binding",
        opt=route(Role.ADMIN, answers={204: None}, etag=True, everywhere=True),
    )
    async def delete_role_binding(
        self,
        request: Request[Any, Any, Any],
        project: FromPath[str],
        principal: FromPath[str],
        deps: NamedDependency[Dependencies],
    ) -> None:
        """Delete a role binding."""
        await bindings.delete(project, principal, precondition(request), deps.now())
