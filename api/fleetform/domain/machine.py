"""Instance types, engines, devices, and what a host has room for."""

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from fleetform.domain.base import Metadata, Record, Request
from fleetform.errors import FieldError

Money = Annotated[str, Meta(pattern=r"^[0-9]{1,12}(\.[0-9]{1,6})?$")]


class InstanceTypeSpec(Request, frozen=True, kw_only=True):
    """The shape one replica takes. accelerator: a device kind such as `a10`; memory is per device, in MiB."""

    cpu_millis: Annotated[int, Meta(ge=1, le=1_000_000)]
    memory_mib: Annotated[int, Meta(ge=1, le=100_000_000)]
    accelerator: Annotated[str, Meta(max_length=63)] | UnsetType = UNSET
    accelerator_count: Annotated[int, Meta(ge=0, le=64)] | UnsetType = UNSET
    accelerator_memory_mib: Annotated[int, Meta(ge=0, le=10_000_000)] | UnsetType = UNSET
    vm_rate_bdt: Money | UnsetType = UNSET
    margin_bdt: Money | UnsetType = UNSET
    self_service_max: Annotated[int, Meta(ge=0, le=1_000_000)] | UnsetType = UNSET

    def problems(self, pointer: str) -> list[FieldError]:
        """Devices wanted without saying which, or named without a number."""
        if (self.accelerator_count or 0) > 0 and not self.accelerator:
            return [FieldError(f"{pointer}/accelerator", "required when accelerator_count is above 0", "required")]
        if self.accelerator and not self.accelerator_count:
            return [FieldError(f"{pointer}/accelerator_count", "must be at least 1 when an accelerator is named", "required")]
        return []


class InstanceType(Record, frozen=True, kw_only=True):
    metadata: Metadata
    spec: InstanceTypeSpec


class EngineSpec(Request, frozen=True, kw_only=True):
    """A `command` engine, declared region-wide by administrators; a tenant never brings a command.

    argv: template; `{socket}` or `{port}`, `{model_dir}`, `{served_name}`, `{instance}` (the nonce) and `{context_length}` are filled in.
    health_path answers 200 when the engine is ready. routes: `openai` engines are asked a one-token canary, `raw` ones are not.
    """

    argv: Annotated[list[Annotated[str, Meta(min_length=1, max_length=4096)]], Meta(min_length=1, max_length=256)]
    listen: Annotated[str, Meta(pattern="^(socket|port)$")] | UnsetType = UNSET
    health_path: Annotated[str, Meta(pattern=r"^/[A-Za-z0-9/_.-]*$", max_length=256)] | UnsetType = UNSET
    routes: Annotated[str, Meta(pattern="^(openai|raw)$")] | UnsetType = UNSET

    def problems(self, pointer: str) -> list[FieldError]:
        """A template that never says where the engine should listen, or names a word that is not filled in."""
        found = []
        wanted = "{port}" if self.listen == "port" else "{socket}"
        if not any(wanted in word for word in self.argv):
            found.append(FieldError(f"{pointer}/argv", f"must contain {wanted}, where the engine is to listen", "invalid"))
        for index, word in enumerate(self.argv):
            try:
                word.format(socket="", port="", model_dir="", served_name="", instance="", context_length="")
            except (KeyError, IndexError, ValueError):
                known = "{socket} {port} {model_dir} {served_name} {instance} {context_length}"
                found.append(FieldError(f"{pointer}/argv/{index}", f"unknown placeholder; known: {known}", "invalid"))
        return found


class Engine(Record, frozen=True, kw_only=True):
    metadata: Metadata
    spec: EngineSpec


class Shape(Record, frozen=True, kw_only=True):
    """What one replica takes on a host. accelerator None: CPU only."""

    cpu_millis: int
    memory_mib: int
    accelerator: str | None = None
    accelerator_count: int = 0
    accelerator_memory_mib: int = 0


class Device(Record, frozen=True, kw_only=True):
    """One accelerator, by its full UUID. memory_free_idle_mib: what it had free when nothing of ours ran on it."""

    uuid: str
    kind: str
    memory_mib: int
    memory_free_idle_mib: int
    index: int
    healthy: bool = True
    parent: str | None = None


class HostCapacity(Record, frozen=True, kw_only=True):
    """What a host offers, before reservations. cpu_millis is a setting and may be overcommitted."""

    host: str
    cpu_millis: int
    memory_mib: int
    devices: tuple[Device, ...] = ()
    reachable: bool = True


class Reservation(Record, frozen=True, kw_only=True):
    """Part of a host that a replica holds. devices: full UUIDs."""

    replica_id: str
    host: str
    cpu_millis: int
    memory_mib: int
    devices: tuple[str, ...] = ()


class Asleep(Record, frozen=True, kw_only=True):
    """An engine that sleeps on devices of a host: whose it is, and in which order it was given them."""

    host: str
    endpoint_uid: str
    track_id: str
    devices: tuple[str, ...]


class Capacity(Record, frozen=True, kw_only=True):
    """Every host, everything that is reserved on them, and the project's quota of the endpoint's instance type.

    quota_used: what all endpoints of the project have booked or hold, whichever is more. free_elsewhere: what is free of its quotas of
    other instance types, of which the endpoint has tracks. asleep: of all endpoints, everywhere.
    """

    hosts: tuple[HostCapacity, ...]
    reservations: tuple[Reservation, ...] = ()
    quota_limit: int = 0
    quota_used: int = 0
    free_elsewhere: dict[str, int] = {}
    asleep: tuple[Asleep, ...] = ()
