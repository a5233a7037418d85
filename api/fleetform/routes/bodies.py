"""What bodies look like on the wire where they are not a resource itself: `{"spec": …}`, lists, problems."""

from fleetform.domain.base import Record, Request
from fleetform.domain.endpoint import Endpoint
from fleetform.domain.endpoint_spec import EndpointSpec
from fleetform.domain.events import Event
from fleetform.domain.machine import Engine, EngineSpec, InstanceType, InstanceTypeSpec
from fleetform.domain.model import ModelVersion, ModelVersionSpec
from fleetform.domain.project import (
    Project,
    ProjectSpec,
    Quota,
    QuotaHolder,
    QuotaSpec,
    RoleBinding,
    RoleBindingSpec,
    Token,
    TokenSpec,
)
from fleetform.domain.replica import ReplicaView
from fleetform.domain.rollout import Rollout
from fleetform.errors import FieldError


class ProjectPut(Request, frozen=True, kw_only=True):
    spec: ProjectSpec


class RoleBindingPut(Request, frozen=True, kw_only=True):
    spec: RoleBindingSpec


class InstanceTypePut(Request, frozen=True, kw_only=True):
    spec: InstanceTypeSpec

    def problems(self, pointer: str) -> list[FieldError]:
        return self.spec.problems(f"{pointer}/spec")


class EnginePut(Request, frozen=True, kw_only=True):
    spec: EngineSpec

    def problems(self, pointer: str) -> list[FieldError]:
        return self.spec.problems(f"{pointer}/spec")


class ModelVersionPut(Request, frozen=True, kw_only=True):
    spec: ModelVersionSpec

    def problems(self, pointer: str) -> list[FieldError]:
        return self.spec.problems(f"{pointer}/spec")


class EndpointPut(Request, frozen=True, kw_only=True):
    spec: EndpointSpec

    def problems(self, pointer: str) -> list[FieldError]:
        return self.spec.problems(f"{pointer}/spec")


class QuotaPut(Request, frozen=True, kw_only=True):
    spec: QuotaSpec


class TokenPut(Request, frozen=True, kw_only=True):
    spec: TokenSpec

    def problems(self, pointer: str) -> list[FieldError]:
        return self.spec.problems(f"{pointer}/spec")


class ProjectList(Record, frozen=True, kw_only=True):
    """next_cursor: pass it as `cursor` to go on; null at the end."""

    items: tuple[Project, ...]
    next_cursor: str | None


class RoleBindingList(Record, frozen=True, kw_only=True):
    """next_cursor: pass it as `cursor` to go on; null at the end."""

    items: tuple[RoleBinding, ...]
    next_cursor: str | None


class InstanceTypeList(Record, frozen=True, kw_only=True):
    """next_cursor: pass it as `cursor` to go on; null at the end."""

    items: tuple[InstanceType, ...]
    next_cursor: str | None


class EngineList(Record, frozen=True, kw_only=True):
    """next_cursor: pass it as `cursor` to go on; null at the end."""

    items: tuple[Engine, ...]
    next_cursor: str | None


class ModelVersionList(Record, frozen=True, kw_only=True):
    """next_cursor: pass it as `cursor` to go on; null at the end."""

    items: tuple[ModelVersion, ...]
    next_cursor: str | None


class EndpointList(Record, frozen=True, kw_only=True):
    """next_cursor: pass it as `cursor` to go on; null at the end."""

    items: tuple[Endpoint, ...]
    next_cursor: str | None


class QuotaList(Record, frozen=True, kw_only=True):
    """next_cursor: pass it as `cursor` to go on; null at the end."""

    items: tuple[Quota, ...]
    next_cursor: str | None


class TokenList(Record, frozen=True, kw_only=True):
    """next_cursor: pass it as `cursor` to go on; null at the end."""

    items: tuple[Token, ...]
    next_cursor: str | None


class ReplicaList(Record, frozen=True, kw_only=True):
    """next_cursor: pass it as `cursor` to go on; null at the end."""

    items: tuple[ReplicaView, ...]
    next_cursor: str | None


class EventList(Record, frozen=True, kw_only=True):
    """Newest first. next_cursor: pass it as `cursor` to go on to older ones; null at the end."""

    items: tuple[Event, ...]
    next_cursor: str | None


class RolloutList(Record, frozen=True, kw_only=True):
    """Newest first. next_cursor: pass it as `cursor` to go on to older ones; null at the end."""

    items: tuple[Rollout, ...]
    next_cursor: str | None


class Region(Record, frozen=True, kw_only=True):
    """Where the caller is. gateway_url: the OpenAI base URL. version: of the server."""

    name: str
    gateway_url: str
    version: str


class Health(Record, frozen=True, kw_only=True):
    """status: `ok`."""

    status: str = "ok"


class ProblemField(Record, frozen=True, kw_only=True):
    """One wrong field. pointer: JSON pointer into the body, or `/name` for a path or query parameter. code: stable."""

    pointer: str
    detail: str
    code: str


class Problem(Record, frozen=True, kw_only=True, omit_defaults=True):
    """RFC 9457. type ends in the problem's name, title is constant for it, instance is the request's id.

    errors: every wrong field. references: what blocks a delete. free, holders: of the quota that has no room. fields: the immutable
    fields that differ.
    """

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: tuple[ProblemField, ...] = ()
    references: tuple[str, ...] = ()
    free: int | None = None
    holders: tuple[QuotaHolder, ...] = ()
    fields: tuple[str, ...] = ()
