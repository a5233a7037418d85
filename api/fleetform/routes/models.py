"""Model versions: registered once, verified by a host, never changed."""

from typing import Any

from litestar import Controller, Request, Response, delete, get, put
from litestar.di import NamedDependency
from litestar.params import FromPath

from fleetform.domain.access import Role
from fleetform.domain.model import ModelVersion
from fleetform.routes.access import route
from fleetform.routes.bodies import ModelVersionList, ModelVersionPut
from fleetform.routes.dependencies import Dependencies
from fleetform.routes.http import answer, etag, precondition, read, written
from fleetform.routes.parameters import Cursor, Limit, WaitFor, WaitGeneration, WaitTimeout
from fleetform.routes.waiting import until
from fleetform.store import models


class ModelVersionController(Controller):
    """Registered by a project's administrators, read by its viewers."""

    path = "/v1/projects/{project:str}/model-versions"
    tags = ["model versions"]

    @get("/", operation_id="list_model_versions", opt=route(Role.VIEWER, answers={200: ModelVersionList}))
    async def list_model_versions(self, project: FromPath[str], limit: Limit = 50, cursor: Cursor = None) -> ModelVersionList:
        """List a project's model versions, by model and version."""
        page = await models.page(project, limit, cursor)
        return ModelVersionList(items=page.items, next_cursor=page.next_cursor)

    @get("/{model:str}/{version:str}", operation_id="get_model_version", opt=route(Role.VIEWER, answers={200: ModelVersion}, etag=True))
    async def get_model_version(
        self,
        project: FromPath[str],
        model: FromPath[str],
        version: FromPath[str],
        deps: NamedDependency[Dependencies],
        wait_for: WaitFor = None,
        generation: WaitGeneration = None,
        timeout_s: WaitTimeout = 30,
    ) -> Response[ModelVersion]:
        """Get a model version; `wait_for=ready` waits until it is verified or refused."""
        found = await until(
            deps.waker,
            lambda: models.get(project, model, version),
            lambda v: wait_for is None or (wait_for == "ready" and models.is_settled(v) and v.metadata.generation >= (generation or 1)),
            timeout_s,
        )
        return answer(found, etag(found.metadata.generation, found.status.revision))

    @put(
        "/{model:str}/{version:str}",
        operation_id="put_model_version",
        opt=route(Role.ADMIN, body=ModelVersionPut, answers={200: ModelVersion, 201: ModelVersion}, etag=True),
    )
    async def put_model_version(
        self,
        request: Request[Any, Any, Any],
        project: FromPath[str],
        model: FromPath[str],
        version: FromPath[str],
        deps: NamedDependency[Dependencies],
    ) -> Response[ModelVersion]:
        """Register a model version. It never changes: another spec is 409; register a new version."""
        body = await read(request, ModelVersionPut)
        outcome = await models.put(project, model, version, body.spec, request.auth, precondition(request), deps.now())
        return written(outcome, etag(outcome.resource.metadata.generation, outcome.resource.status.revision))

    @delete("/{model:str}/{version:str}", operation_id="delete_model_version", opt=route(Role.ADMIN, answers={204: None}, etag=True))
    async def delete_model_version(
        self,
        request: Request[Any, Any, Any],
        project: FromPath[str],
        model: FromPath[str],
        version: FromPath[str],
        deps: NamedDependency[Dependencies],
    ) -> None:
        """Delete a model version. 409 with the endpoints that name it or still serve it."""
        await models.delete(project, model, version, precondition(request), deps.now())
