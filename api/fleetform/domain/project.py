"""Project, role binding, quota, token and credential."""

from datetime import datetime
from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from fleetform.domain.access import Role
from fleetform.domain.base import Metadata, Record, Request
from fleetform.domain.conditions import Condition
from fleetform.domain.names import name_error
from fleetform.errors import FieldError

Labels = Annotated[dict[Annotated[str, Meta(max_length=63)], Annotated[str, Meta(max_length=256)]], Meta(max_length=32)]
ArtifactPrefix = Annotated[str, Meta(pattern=r"^(s3://[a-z0-9][a-z0-9.-]{1,62}/|file:///)", max_length=1024)]


class ProjectSpec(Request, frozen=True, kw_only=True):
    """artifact_prefixes: where this project's artifacts may lie; set by region administrators alone."""

    display_name: Annotated[str, Meta(max_length=200)] | UnsetType = UNSET
    artifact_prefixes: Annotated[list[ArtifactPrefix], Meta(max_length=64)] | UnsetType = UNSET
    labels: Labels | UnsetType = UNSET


class Project(Record, frozen=True, kw_only=True):
    metadata: Metadata
    spec: ProjectSpec


class RoleBindingSpec(Request, frozen=True, kw_only=True):
    roles: Annotated[list[Role], Meta(min_length=1, max_length=4)]


class RoleBinding(Record, frozen=True, kw_only=True):
    """metadata.name is the principal."""

    metadata: Metadata
    spec: RoleBindingSpec


class QuotaSpec(Request, frozen=True, kw_only=True):
    """max_replicas: of one instance type in one project; no quota means 0."""

    max_replicas: Annotated[int, Meta(ge=0, le=1_000_000)]


class QuotaHolder(Record, frozen=True, kw_only=True):
    """Who holds part of a quota: an endpoint's name and the replicas it has booked or runs."""

    endpoint: str
    replicas: int


class QuotaStatus(Record, frozen=True, kw_only=True):
    used: int
    free: int
    holders: tuple[QuotaHolder, ...] = ()


class Quota(Record, frozen=True, kw_only=True):
    """metadata.name is the instance type."""

    metadata: Metadata
    spec: QuotaSpec
    status: QuotaStatus


class TokenSpec(Request, frozen=True, kw_only=True):
    """endpoints: names this token may call; left out, all of the project. ttl_days: the longest life of one credential."""

    roles: Annotated[list[Role], Meta(min_length=1, max_length=4)]
    endpoints: Annotated[list[Annotated[str, Meta(max_length=63)]], Meta(min_length=1, max_length=1000)] | UnsetType = UNSET
    ttl_days: Annotated[int, Meta(ge=1, le=90)] | UnsetType = UNSET
    labels: Labels | UnsetType = UNSET

    def problems(self, pointer: str) -> list[FieldError]:
        """Roles that are named twice, which is a slip worth telling, and endpoints that no endpoint can be called."""
        found = [name_error(f"{pointer}/endpoints/{index}", name) for index, name in enumerate(self.endpoints or ())]
        if len(set(self.roles)) != len(self.roles):
            found.append(FieldError(f"{pointer}/roles", "a role is named twice", "duplicate"))
        return [error for error in found if error is not None]


TOKEN_TTL_DAYS_DEFAULT = 30


class CredentialInfo(Record, frozen=True, kw_only=True):
    """A live credential as lists show it: never the secret."""

    id: str
    created_at: datetime
    expires_at: datetime


class TokenStatus(Record, frozen=True, kw_only=True):
    """credentials: the live ones, oldest first. revision grows with every mint and revocation."""

    revision: int = 0
    conditions: tuple[Condition, ...] = ()
    credentials: tuple[CredentialInfo, ...] = ()


class Token(Record, frozen=True, kw_only=True):
    metadata: Metadata
    spec: TokenSpec
    status: TokenStatus


class CredentialRequest(Request, frozen=True, kw_only=True):
    """ttl_s: life of the credential, at most the token's; left out, the token's ttl_days."""

    ttl_s: Annotated[int, Meta(ge=60, le=90 * 86400)] | UnsetType = UNSET


class Credential(Record, frozen=True, kw_only=True):
    """The one answer that holds a secret. repr hides it."""

    id: str
    secret: str
    expires_at: datetime

    def __repr__(self) -> str:
        return f"Credential(id={self.id!r}, secret=<hidden>, expires_at={self.expires_at!r})"
