"""Roles and who holds them."""

from enum import StrEnum

from fleetform.domain.base import Record
from fleetform.domain.names import ALL_PROJECTS


class Role(StrEnum):
    """The four roles. Each deployer is a viewer; an admin is all of them; an invoker only calls the gateway."""

    VIEWER = "inference.viewer"
    INVOKER = "inference.invoker"
    DEPLOYER = "inference.deployer"
    ADMIN = "inference.admin"


INCLUDES: dict[Role, frozenset[Role]] = {
    Role.VIEWER: frozenset({Role.VIEWER}),
    Role.INVOKER: frozenset({Role.INVOKER}),
    Role.DEPLOYER: frozenset({Role.DEPLOYER, Role.VIEWER}),
    Role.ADMIN: frozenset(Role),
}


def roles_held(granted: frozenset[Role]) -> frozenset[Role]:
    """Every role that the granted ones include."""
    return frozenset().union(*(INCLUDES[role] for role in granted))


class Caller(Record, frozen=True, kw_only=True):
    """Who makes a call, as the rows say (never the claims).

    principal: `token:<project>:<name>` or `user:<name>`. roles: project → roles held there, includes expanded; the key `*`
    marks a region administrator.
    """

    principal: str
    jti: str
    roles: dict[str, frozenset[Role]]

    @property
    def is_region_admin(self) -> bool:
        return Role.ADMIN in self.roles.get(ALL_PROJECTS, frozenset())

    def roles_in(self, project: str) -> frozenset[Role]:
        """Roles held in project, those of the region included."""
        return self.roles.get(project, frozenset()) | self.roles.get(ALL_PROJECTS, frozenset())
