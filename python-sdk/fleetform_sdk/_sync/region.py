"""Generated from _async by `make generate`; do not edit."""

from typing import Unpack

from fleetform_sdk._generated import fields, models, operations
from fleetform_sdk._sync.pages import Pages
from fleetform_sdk._sync.resource import Change, Resource, only_new


class Region(Resource):
    """The installation that this client speaks to."""

    def get(self) -> models.Region:
        """Its name, its server's version, and the OpenAI base URL of its models."""
        return self._transport.send(operations.get_region())


class Projects(Resource):
    """Projects: the owners of endpoints, and where their artifacts may lie."""

    def apply(self, name: str, *, create_only: bool = False, **spec: Unpack[fields.ProjectSpec]) -> models.Project:
        """Create or replace the project; what is left out takes its default.

        create_only: PreconditionFailedError when a project of that name exists.
        """
        call = operations.put_project(project=name, body={"spec": spec}, if_none_match=only_new(create_only))
        return self._put(call, operations.get_project(project=name))

    def update(self, name: str, change: Change) -> models.Project:
        """Change part of the spec, as `endpoints.update` does."""
        return self._update(
            operations.get_project(project=name),
            lambda body, etag: operations.put_project(project=name, body=body, if_match=etag),
            change,
        )

    def get(self, name: str) -> models.Project:
        """The project; NotFoundError when there is none, or none for this token."""
        return self._transport.send(operations.get_project(project=name))

    def list(self) -> Pages[models.Project]:
        """The projects that this token may see."""
        return Pages(self._transport, lambda cursor: operations.list_projects(cursor=cursor))

    def delete(self, name: str) -> None:
        """Delete the project; ConflictError lists what is still in it."""
        self._transport.send(operations.delete_project(project=name))


class InstanceTypes(Resource):
    """Instance types: the shapes a replica can take."""

    def apply(self, name: str, **spec: Unpack[fields.InstanceTypeSpec]) -> models.InstanceType:
        """Create or replace the instance type; what is left out takes its default."""
        return self._transport.send(operations.put_instance_type(name=name, body={"spec": spec}))

    def get(self, name: str) -> models.InstanceType:
        """The instance type; NotFoundError when there is none."""
        return self._transport.send(operations.get_instance_type(name=name))

    def list(self) -> Pages[models.InstanceType]:
        """Every instance type of the region."""
        return Pages(self._transport, lambda cursor: operations.list_instance_types(cursor=cursor))

    def delete(self, name: str) -> None:
        """Delete the instance type; ConflictError lists the endpoints and quotas that use it."""
        self._transport.send(operations.delete_instance_type(name=name))


class Engines(Resource):
    """Engines of the `command` adapter."""

    def apply(self, name: str, **spec: Unpack[fields.EngineSpec]) -> models.Engine:
        """Declare or replace the engine; what is left out takes its default."""
        return self._transport.send(operations.put_engine(name=name, body={"spec": spec}))

    def get(self, name: str) -> models.Engine:
        """The engine; NotFoundError when there is none."""
        return self._transport.send(operations.get_engine(name=name))

    def list(self) -> Pages[models.Engine]:
        """Every declared engine of the region."""
        return Pages(self._transport, lambda cursor: operations.list_engines(cursor=cursor))

    def delete(self, name: str) -> None:
        """Delete the engine; ConflictError lists the model versions that name it."""
        self._transport.send(operations.delete_engine(name=name))
