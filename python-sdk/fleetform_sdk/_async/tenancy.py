"""Resources of a project that say who may do how much: quotas and role bindings."""

from typing import Unpack

from fleetform_sdk._async.pages import AsyncPages
from fleetform_sdk._async.resource import AsyncResource
from fleetform_sdk._generated import fields, models, operations


class AsyncQuotas(AsyncResource):
    """Quotas: how many replicas of an instance type a project may run. No quota means none."""

    async def apply(self, instance_type: str, *, project: str | None = None, **spec: Unpack[fields.QuotaSpec]) -> models.Quota:
        """Set the quota; ConflictError lists the holders when it would fall below what they have booked."""
        where = self._project(project)
        return await self._transport.send(operations.put_quota(project=where, instance_type=instance_type, body={"spec": spec}))

    async def get(self, instance_type: str, *, project: str | None = None) -> models.Quota:
        """The quota with what is used of it and by whom; NotFoundError when there is none."""
        return await self._transport.send(operations.get_quota(project=self._project(project), instance_type=instance_type))

    def list(self, *, project: str | None = None) -> AsyncPages[models.Quota]:
        """The quotas of the project."""
        where = self._project(project)
        return AsyncPages(self._transport, lambda cursor: operations.list_quotas(project=where, cursor=cursor))

    async def delete(self, instance_type: str, *, project: str | None = None) -> None:
        """Take the quota away; ConflictError lists the holders while there are any."""
        await self._transport.send(operations.delete_quota(project=self._project(project), instance_type=instance_type))


class AsyncRoleBindings(AsyncResource):
    """Who holds which roles in a project. principal: `user:<name>` or `token:<project>:<name>`."""

    async def apply(self, principal: str, *, project: str | None = None, **spec: Unpack[fields.RoleBindingSpec]) -> models.RoleBinding:
        """Set the roles of principal; PermissionDeniedError when one of them is not the caller's to give."""
        where = self._project(project)
        return await self._transport.send(operations.put_role_binding(project=where, principal=principal, body={"spec": spec}))

    async def get(self, principal: str, *, project: str | None = None) -> models.RoleBinding:
        """The binding of principal; NotFoundError when there is none."""
        return await self._transport.send(operations.get_role_binding(project=self._project(project), principal=principal))

    def list(self, *, project: str | None = None) -> AsyncPages[models.RoleBinding]:
        """The bindings of the project; `*` is the region."""
        where = self._project(project)
        return AsyncPages(self._transport, lambda cursor: operations.list_role_bindings(project=where, cursor=cursor))

    async def delete(self, principal: str, *, project: str | None = None) -> None:
        """Take the roles of principal away."""
        await self._transport.send(operations.delete_role_binding(project=self._project(project), principal=principal))
