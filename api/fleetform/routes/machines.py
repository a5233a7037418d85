"""Instance types and declared engines: region-wide, read by everybody, changed by region administrators."""

from typing import Any

from litestar import Controller, Request, Response, delete, get, put
from litestar.di import NamedDependency
from litestar.params import FromPath

from fleetform.domain.machine import Engine, InstanceType
from fleetform.routes.access import ANYONE, REGION_ADMIN, route
from fleetform.routes.bodies import EngineList, EnginePut, InstanceTypeList, InstanceTypePut
from fleetform.routes.dependencies import Dependencies
from fleetform.routes.http import answer, etag, precondition, read, written
from fleetform.routes.parameters import Cursor, Limit
from fleetform.store import machines


class InstanceTypeController(Controller):
    """The shapes that a replica may take."""

    path = "/v1/instance-types"
    tags = ["instance types"]

    @get("/", operation_id="list_instance_types", opt=route(ANYONE, answers={200: InstanceTypeList}))
    async def list_instance_types(self, limit: Limit = 50, cursor: Cursor = None) -> InstanceTypeList:
        """List the region's instance types, by name."""
        page = await machines.page_instance_types(limit, cursor)
        return InstanceTypeList(items=page.items, next_cursor=page.next_cursor)

    @get("/{name:str}", operation_id="get_instance_type", opt=route(ANYONE, answers={200: InstanceType}, etag=True))
    async def get_instance_type(self, name: FromPath[str]) -> Response[InstanceType]:
        """Get an instance type."""
        found = await machines.get_instance_type(name)
        return answer(found, etag(found.metadata.generation))

    @put(
        "/{name:str}",
        operation_id="put_instance_type",
        opt=route(REGION_ADMIN, body=InstanceTypePut, answers={200: InstanceType, 201: InstanceType}, etag=True),
    )
    async def put_instance_type(
        self, request: Request[Any, Any, Any], name: FromPath[str], deps: NamedDependency[Dependencies]
    ) -> Response[InstanceType]:
        """Create or replace an instance type. A changed shape moves the endpoints that use it, like any change of theirs."""
        body = await read(request, InstanceTypePut)
        outcome = await machines.put_instance_type(name, body.spec, precondition(request), deps.now())
        return written(outcome, etag(outcome.resource.metadata.generation))

    @delete("/{name:str}", operation_id="delete_instance_type", opt=route(REGION_ADMIN, answers={204: None}, etag=True))
    async def delete_instance_type(self, request: Request[Any, Any, Any], name: FromPath[str]) -> None:
        """Delete an instance type. 409 with the endpoints and quotas that name it."""
        await machines.delete_instance_type(name, precondition(request))


class EngineController(Controller):
    """Engines of the `command` adapter. `vllm` is built in and not declared."""

    path = "/v1/engines"
    tags = ["engines"]

    @get("/", operation_id="list_engines", opt=route(ANYONE, answers={200: EngineList}))
    async def list_engines(self, limit: Limit = 50, cursor: Cursor = None) -> EngineList:
        """List the declared engines, by name."""
        page = await machines.page_engines(limit, cursor)
        return EngineList(items=page.items, next_cursor=page.next_cursor)

    @get("/{name:str}", operation_id="get_engine", opt=route(ANYONE, answers={200: Engine}, etag=True))
    async def get_engine(self, name: FromPath[str]) -> Response[Engine]:
        """Get a declared engine."""
        found = await machines.get_engine(name)
        return answer(found, etag(found.metadata.generation))

    @put("/{name:str}", operation_id="put_engine", opt=route(REGION_ADMIN, body=EnginePut, answers={200: Engine, 201: Engine}, etag=True))
    async def put_engine(
        self, request: Request[Any, Any, Any], name: FromPath[str], deps: NamedDependency[Dependencies]
    ) -> Response[Engine]:
        """Create or replace a declared engine. A changed one moves the endpoints that use it, like any change of theirs."""
        body = await read(request, EnginePut)
        outcome = await machines.put_engine(name, body.spec, precondition(request), deps.now())
        return written(outcome, etag(outcome.resource.metadata.generation))

    @delete("/{name:str}", operation_id="delete_engine", opt=route(REGION_ADMIN, answers={204: None}, etag=True))
    async def delete_engine(self, request: Request[Any, Any, Any], name: FromPath[str]) -> None:
        """Delete a declared engine. 409 with the model versions that name it."""
        await machines.delete_engine(name, precondition(request))
