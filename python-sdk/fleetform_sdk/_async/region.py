"""The region, and its resources: projects, instance types, engines. Region administrators write them."""

from typing import Unpack

from fleetform_sdk._async.pages import AsyncPages
from fleetform_sdk._async.resource import AsyncResource, Change, only_new
from fleetform_sdk._generated import fields, models, operations


class AsyncRegion(AsyncResource):
    """The installation that this client speaks to."""

    async def get(self) -> models.Region:
        """Its name, its server's version, and the OpenAI base URL of its models."""
        return await self._transport.send(operations.get_region())


class AsyncProjects(AsyncResource):
    """Projects: the owners of endpoints, and where their artifacts may lie."""

    async def apply(self, name: str, *, create_only: bool = False, **spec: Unpack[fields.ProjectSpec]) -> models.Project:
        """Create or replace the project; what is left out takes its default.

        create_only: PreconditionFailedError when a project of that name exists.
        """
        call = operations.put_project(project=name, body={"spec": spec}, if_none_match=only_new(create_only))
        return await self._put(call, operations.get_project(project=name))

    async def update(self, name: str, change: Change) -> models.Project:
        """Change part of the spec, as `endpoints.update` does."""
        return await self._update(
            operations.get_project(project=name),
            lambda body, etag: operations.put_project(project=name, body=body, if_match=etag),
            change,
        )

    async def get(self, name: str) -> models.Project:
        """The project; NotFoundError when there is none, or none for this token."""
        return await self._transport.send(operations.get_project(project=name))

    def list(self) -> AsyncPages[models.Project]:
        """The projects that this token may see."""
        return AsyncPages(self._transport, lambda cursor: operations.list_projects(cursor=cursor))

    async def delete(self, name: str) -> None:
        """Delete the project; ConflictError lists what is still in it."""
        await self._transport.send(operations.delete_project(project=name))


class AsyncInstanceTypes(AsyncResource):
    """Instance types: the shapes a replica can take."""

    async def apply(self, name: str, **spec: Unpack[fields.InstanceTypeSpec]) -> models.InstanceType:
        """Create or replace the instance type; what is left out takes its default."""
        return await self._transport.send(operations.put_instance_type(name=name, body={"spec": spec}))

    async def get(self, name: str) -> models.InstanceType:
        """The instance type; NotFoundError when there is none."""
        return await self._transport.send(operations.get_instance_type(name=name))

    def list(self) -> AsyncPages[models.InstanceType]:
        """Every instance type of the region."""
        return AsyncPages(self._transport, lambda cursor: operations.list_instance_types(cursor=cursor))

    async def delete(self, name: str) -> None:
        """Delete the instance type; ConflictError lists the endpoints and quotas that use it."""
        await self._transport.send(operations.delete_instance_type(name=name))


class AsyncEngines(AsyncResource):
    """Engines of the `command` adapter."""

    async def apply(self, name: str, **spec: Unpack[fields.EngineSpec]) -> models.Engine:
        """Declare or replace the engine; what is left out takes its default."""
        return await self._transport.send(operations.put_engine(name=name, body={"spec": spec}))

    async def get(self, name: str) -> models.Engine:
        """The engine; NotFoundError when there is none."""
        return await self._transport.send(operations.get_engine(name=name))

    def list(self) -> AsyncPages[models.Engine]:
        """Every declared engine of the region."""
        return AsyncPages(self._transport, lambda cursor: operations.list_engines(cursor=cursor))

    async def delete(self, name: str) -> None:
        """Delete the engine; ConflictError lists the model versions that name it."""
        await self._transport.send(operations.delete_engine(name=name))
