"""Endpoints, and what can be seen of each: its replicas, their logs, its events."""

from typing import Any

import msgspec
from litestar import Controller, Request, Response, delete, get, put
from litestar.di import NamedDependency
from litestar.params import FromPath

from fleetform.domain.access import Role
from fleetform.domain.endpoint import Endpoint
from fleetform.domain.protocol import LogText
from fleetform.routes.access import route
from fleetform.routes.bodies import EndpointList, EndpointPut, EventList, ReplicaList, RolloutList
from fleetform.routes.dependencies import Dependencies
from fleetform.routes.http import answer, etag, precondition, read
from fleetform.routes.live import starting, with_load, with_starts
from fleetform.routes.parameters import Cursor, Limit, Lines, WaitFor, WaitGeneration, WaitTimeout
from fleetform.routes.waiting import until
from fleetform.store import endpoints, events, replicas, rollouts


class EndpointController(Controller):
    """Changed by a project's deployers, read by its viewers."""

    path = "/v1/projects/{project:str}/endpoints"
    tags = ["endpoints"]

    @get("/", operation_id="list_endpoints", opt=route(Role.VIEWER, answers={200: EndpointList}))
    async def list_endpoints(
        self, project: FromPath[str], deps: NamedDependency[Dependencies], limit: Limit = 50, cursor: Cursor = None
    ) -> EndpointList:
        """List a project's endpoints, by name."""
        page = await endpoints.page(project, limit, cursor)
        return EndpointList(items=tuple(_with_url(item, deps) for item in page.items), next_cursor=page.next_cursor)

    @get("/{name:str}", operation_id="get_endpoint", opt=route(Role.VIEWER, answers={200: Endpoint}, etag=True))
    async def get_endpoint(
        self,
        project: FromPath[str],
        name: FromPath[str],
        deps: NamedDependency[Dependencies],
        wait_for: WaitFor = None,
        generation: WaitGeneration = None,
        timeout_s: WaitTimeout = 30,
    ) -> Response[Endpoint]:
        """Get an endpoint; with `wait_for`, wait until it is ready, or gone."""
        found = await until(
            deps.waker,
            lambda: endpoints.get(project, name),
            lambda e: wait_for is None or (wait_for == "ready" and endpoints.is_settled(e, generation or e.metadata.generation)),
            timeout_s,
        )
        return _answer(found, deps)

    @put(
        "/{name:str}",
        operation_id="put_endpoint",
        opt=route(Role.DEPLOYER, body=EndpointPut, answers={200: Endpoint, 201: Endpoint}, etag=True),
    )
    async def put_endpoint(
        self, request: Request[Any, Any, Any], project: FromPath[str], name: FromPath[str], deps: NamedDependency[Dependencies]
    ) -> Response[Endpoint]:
        """Create or replace an endpoint. The same spec again changes nothing."""
        body = await read(request, EndpointPut)
        outcome = await endpoints.put(project, name, body.spec, precondition(request), deps.now())
        return _answer(outcome.resource, deps, 201 if outcome.created else 200)

    @delete("/{name:str}", operation_id="delete_endpoint", status_code=202, opt=route(Role.DEPLOYER, answers={202: Endpoint}, etag=True))
    async def delete_endpoint(
        self, request: Request[Any, Any, Any], project: FromPath[str], name: FromPath[str], deps: NamedDependency[Dependencies]
    ) -> Response[Endpoint]:
        """Tear an endpoint down: drain, stop, release. Again while it is torn down changes nothing; afterwards it is 404."""
        return _answer(await endpoints.delete(project, name, precondition(request), deps.now()), deps, 202)

    @get("/{name:str}/replicas", operation_id="list_endpoint_replicas", opt=route(Role.VIEWER, answers={200: ReplicaList}))
    async def list_endpoint_replicas(
        self,
        project: FromPath[str],
        name: FromPath[str],
        deps: NamedDependency[Dependencies],
        limit: Limit = 50,
        cursor: Cursor = None,
    ) -> ReplicaList:
        """List an endpoint's replicas, by id."""
        page = await replicas.page(await endpoints.uid_of(project, name), limit, cursor, deps.now())
        loads = await deps.loads.read() if page.items else ()
        told = await deps.loads.replicas(starting(page.items))
        return ReplicaList(items=with_starts(with_load(page.items, loads), told), next_cursor=page.next_cursor)

    @get("/{name:str}/replicas/{replica_id:str}/log", operation_id="get_replica_log", opt=route(Role.DEPLOYER, answers={200: LogText}))
    async def get_replica_log(
        self,
        project: FromPath[str],
        name: FromPath[str],
        replica_id: FromPath[str],
        deps: NamedDependency[Dependencies],
        lines: Lines = 100,
    ) -> LogText:
        """Get the end of a replica's engine log, secrets removed. It is kept for a while after the replica is gone."""
        host = await replicas.host_of(await endpoints.uid_of(project, name), replica_id)
        return await deps.logs.read(replica_id, host, lines)

    @get("/{name:str}/rollouts", operation_id="list_endpoint_rollouts", opt=route(Role.VIEWER, answers={200: RolloutList}))
    async def list_endpoint_rollouts(
        self, project: FromPath[str], name: FromPath[str], limit: Limit = 50, cursor: Cursor = None
    ) -> RolloutList:
        """List how an endpoint's traffic moved to each generation, newest first: steps, verdicts, and why one was rolled back."""
        page = await rollouts.page(await endpoints.uid_of(project, name), limit, cursor)
        return RolloutList(items=page.items, next_cursor=page.next_cursor)

    @get("/{name:str}/events", operation_id="list_endpoint_events", opt=route(Role.VIEWER, answers={200: EventList}))
    async def list_endpoint_events(
        self, project: FromPath[str], name: FromPath[str], limit: Limit = 50, cursor: Cursor = None
    ) -> EventList:
        """List what happened to an endpoint, newest first."""
        page = await events.page(await endpoints.uid_of(project, name), limit, cursor)
        return EventList(items=page.items, next_cursor=page.next_cursor)


def _answer(endpoint: Endpoint, deps: Dependencies, status: int = 200) -> Response[Endpoint]:
    return answer(_with_url(endpoint, deps), etag(endpoint.metadata.generation, endpoint.status.revision), status)


def _with_url(endpoint: Endpoint, deps: Dependencies) -> Endpoint:
    return msgspec.structs.replace(endpoint, status=msgspec.structs.replace(endpoint.status, url=deps.settings.gateway_url))
