"""Generated from _async by `make generate`; do not edit."""

from typing import Unpack

from fleetform_sdk._generated import fields, models, operations
from fleetform_sdk._sync.pages import Pages
from fleetform_sdk._sync.resource import Resource


class Quotas(Resource):
    """Quotas: how many replicas of an instance type a project may run. No quota means none."""

    def apply(self, instance_type: str, *, project: str | None = None, **spec: Unpack[fields.QuotaSpec]) -> models.Quota:
        """Set the quota; ConflictError lists the holders when it would fall below what they have booked."""
        where = self._project(project)
        return self._transport.send(operations.put_quota(project=where, instance_type=instance_type, body={"spec": spec}))

    def get(self, instance_type: str, *, project: str | None = None) -> models.Quota:
        """The quota with what is used of it and by whom; NotFoundError when there is none."""
        return self._transport.send(operations.get_quota(project=self._project(project), instance_type=instance_type))

    def list(self, *, project: str | None = None) -> Pages[models.Quota]:
        """The quotas of the project."""
        where = self._project(project)
        return Pages(self._transport, lambda cursor: operations.list_quotas(project=where, cursor=cursor))

    def delete(self, instance_type: str, *, project: str | None = None) -> None:
        """Take the quota away; ConflictError lists the holders while there are any."""
        self._transport.send(operations.delete_quota(project=self._project(project), instance_type=instance_type))


class RoleBindings(Resource):
    """Who holds which roles in a project. principal: `user:<name>` or `token:<project>:<name>`."""

    def apply(self, principal: str, *, project: str | None = None, **spec: Unpack[fields.RoleBindingSpec]) -> models.RoleBinding:
        """Set the roles of principal; PermissionDeniedError when one of them is not the caller's to give."""
        where = self._project(project)
        return self._transport.send(operations.put_role_binding(project=where, principal=principal, body={"spec": spec}))

    def get(self, principal: str, *, project: str | None = None) -> models.RoleBinding:
        """The binding of principal; NotFoundError when there is none."""
        return self._transport.send(operations.get_role_binding(project=self._project(project), principal=principal))

    def list(self, *, project: str | None = None) -> Pages[models.RoleBinding]:
        """The bindings of the project; `*` is the region."""
        where = self._project(project)
        return Pages(self._transport, lambda cursor: operations.list_role_bindings(project=where, cursor=cursor))

    def delete(self, principal: str, *, project: str | None = None) -> None:
        """Take the roles of principal away."""
        self._transport.send(operations.delete_role_binding(project=self._project(project), principal=principal))
