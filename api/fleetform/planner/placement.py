"""Where a replica goes: filters say which hosts are feasible, ranks which of them is best.

The result names the host and the full UUIDs of its devices, so that nothing is left to choose.
"""

from collections.abc import Callable

import msgspec

from fleetform.domain.base import Record
from fleetform.domain.machine import Asleep, Capacity, Device, HostCapacity, Reservation, Shape
from fleetform.domain.replica import Member
from fleetform.planner.model import Blocked, BlockReason

MIB = 1024 * 1024


class Room(Record, frozen=True, kw_only=True):
    """What is left of one host. neighbours: replicas on it, of this endpoint alone. asleep: devices on which engines sleep, anybody's."""

    host: str
    cpu_millis: int
    memory_mib: int
    devices: tuple[Device, ...]
    reachable: bool
    neighbours: int = 0
    asleep: frozenset[str] = frozenset()


def rooms(capacity: Capacity, own: frozenset[str]) -> tuple[Room, ...]:
    """Capacity minus reservations, per host by name. own: ids of this endpoint's replicas."""
    by_host: dict[str, list[Reservation]] = {}
    for reservation in capacity.reservations:
        by_host.setdefault(reservation.host, []).append(reservation)
    asleep = frozenset(device for sleeper in capacity.asleep for device in sleeper.devices)
    return tuple(_room(host, by_host.get(host.host, []), own, asleep) for host in sorted(capacity.hosts, key=lambda h: h.host))


def _room(host: HostCapacity, reservations: list[Reservation], own: frozenset[str], asleep: frozenset[str] = frozenset()) -> Room:
    taken = {device for reservation in reservations for device in reservation.devices}
    return Room(
        host=host.host,
        cpu_millis=host.cpu_millis - sum(r.cpu_millis for r in reservations),
        memory_mib=host.memory_mib - sum(r.memory_mib for r in reservations),
        devices=tuple(device for device in host.devices if device.uuid not in taken),
        reachable=host.reachable,
        neighbours=sum(1 for r in reservations if r.replica_id in own),
        asleep=asleep,
    )


def place(free: tuple[Room, ...], shape: Shape, asleep: tuple[Asleep, ...] = ()) -> Member | None:
    """Host and devices for one replica of shape, or None when no host has room now.

    asleep: engines that it could wake. Where the very devices of one are free it goes there, before anything else is looked at.
    """
    feasible = [room for room in free if all(holds(room, shape) for holds in FILTERS)]
    if not feasible:
        return None
    best = min(feasible, key=lambda room: (not wakes(room, shape, asleep), *(rank(room, shape) for rank in RANKS)))
    devices = tuple(device.uuid for device in fitting_devices(best, shape)[: shape.accelerator_count])
    return Member(host=best.host, devices=wakes(best, shape, asleep) or devices)


def wakes(room: Room, shape: Shape, asleep: tuple[Asleep, ...]) -> tuple[str, ...]:
    """The devices of an engine of asleep that a replica of shape would wake in room; none where there is no such engine."""
    fitting = {device.uuid for device in fitting_devices(room, shape)}
    here = [s.devices for s in asleep if s.host == room.host and len(s.devices) == shape.accelerator_count and fitting >= {*s.devices}]
    return min(here, default=())


def taken(free: tuple[Room, ...], member: Member, shape: Shape) -> tuple[Room, ...]:
    """free after a replica of shape has been placed on member."""
    return tuple(
        msgspec.structs.replace(
            room,
            cpu_millis=room.cpu_millis - shape.cpu_millis,
            memory_mib=room.memory_mib - shape.memory_mib,
            devices=tuple(d for d in room.devices if d.uuid not in member.devices),
            neighbours=room.neighbours + 1,
        )
        if room.host == member.host
        else room
        for room in free
    )


def is_reachable(room: Room, shape: Shape) -> bool:
    return room.reachable


def has_cpu(room: Room, shape: Shape) -> bool:
    return room.cpu_millis >= shape.cpu_millis


def has_memory(room: Room, shape: Shape) -> bool:
    return room.memory_mib >= shape.memory_mib


def has_devices(room: Room, shape: Shape) -> bool:
    return len(fitting_devices(room, shape)) >= shape.accelerator_count


FILTERS: tuple[Callable[[Room, Shape], bool], ...] = (is_reachable, has_cpu, has_memory, has_devices)


def fewest_neighbours(room: Room, shape: Shape) -> int | str:
    """Replicas of one endpoint are spread over hosts, so that a lost host takes few of them."""
    return room.neighbours


def fewest_devices_left(room: Room, shape: Shape) -> int | str:
    """Hosts are filled up, so that a replica with many devices still finds a whole one."""
    return len(room.devices) - shape.accelerator_count


def by_name(room: Room, shape: Shape) -> int | str:
    return room.host


RANKS: tuple[Callable[[Room, Shape], int | str], ...] = (fewest_neighbours, fewest_devices_left, by_name)


def fitting_devices(room: Room, shape: Shape) -> list[Device]:
    """Devices of the wanted kind and memory in the order of their indices, those on which nobody sleeps first. A part (MIG) never fits."""
    return sorted(
        (
            device
            for device in room.devices
            if device.kind == shape.accelerator
            and device.healthy
            and device.parent is None
            and device.memory_mib >= shape.accelerator_memory_mib
        ),
        key=lambda device: (device.uuid in room.asleep, device.index, device.uuid),
    )


def why_not(capacity: Capacity, shape: Shape, size_bytes: int, instance_type: str) -> Blocked:
    """Why place() found nothing: full for now, or too small for ever."""
    weights_mib = -(-size_bytes // MIB)
    room_mib = shape.accelerator_memory_mib * shape.accelerator_count if shape.accelerator else shape.memory_mib
    if room_mib and weights_mib > room_mib:
        message = f"the weights take {weights_mib} MiB; instance type {instance_type} has {room_mib} MiB"
        return Blocked(reason=BlockReason.MODEL_DOES_NOT_FIT, message=message)
    if not capacity.hosts:
        return Blocked(reason=BlockReason.NO_CAPACITY, message="no host has reported yet")
    if not any(holds_ever(host, shape) for host in capacity.hosts):
        message = f"no host is large enough for instance type {instance_type} ({described(shape)})"
        return Blocked(reason=BlockReason.MODEL_DOES_NOT_FIT, message=message)
    message = f"every host that could hold instance type {instance_type} ({described(shape)}) is full or unreachable"
    return Blocked(reason=BlockReason.NO_CAPACITY, message=message)


def fits_ever(capacity: Capacity, shape: Shape, size_bytes: int) -> bool:
    """False when no emptying of hosts would make room for weights of that size."""
    return why_not(capacity, shape, size_bytes, "").reason is not BlockReason.MODEL_DOES_NOT_FIT


def holds_ever(host: HostCapacity, shape: Shape) -> bool:
    """True when the host, empty and with all of its devices well, could hold shape; reachable now or not."""
    devices = tuple(msgspec.structs.replace(device, healthy=True) for device in host.devices)
    room = _room(msgspec.structs.replace(host, devices=devices), [], frozenset())
    return has_cpu(room, shape) and has_memory(room, shape) and has_devices(room, shape)


def described(shape: Shape) -> str:
    """shape in words for messages."""
    parts = [f"{shape.cpu_millis} millicores", f"{shape.memory_mib} MiB"]
    if shape.accelerator:
        parts.append(f"{shape.accelerator_count} × {shape.accelerator}")
    return ", ".join(parts)
