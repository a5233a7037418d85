"""`fleetform instance-type`: the shapes a replica can take."""

from typing import Any

import click

from fleetform.cli.context import Session, verb
from fleetform.cli.options import given

FIELDS = {
    "/spec/cpu_millis": "--cpu-millis",
    "/spec/memory_mib": "--memory-mib",
    "/spec/accelerator": "--accelerator",
    "/spec/accelerator_count": "--accelerator-count",
    "/spec/accelerator_memory_mib": "--accelerator-memory-mib",
    "/spec/vm_rate_bdt": "--vm-rate-bdt",
    "/spec/margin_bdt": "--margin-bdt",
    "/spec/self_service_max": "--self-service-max",
    "/name": "--name",
}


@click.group()
def instance_type() -> None:
    """The shapes a replica can take."""


@verb(
    instance_type,
    "set",
    click.option("--name", required=True, help="Its name, such as gpu-a10-1x."),
    click.option("--cpu-millis", type=int, required=True, help="CPU of one replica, in thousandths of a core."),
    click.option("--memory-mib", type=int, required=True, help="Memory of one replica, in MiB."),
    click.option("--accelerator", help="Kind of device, such as a10."),
    click.option("--accelerator-count", type=int, help="Devices of one replica."),
    click.option("--accelerator-memory-mib", type=int, help="Memory that each device must have, in MiB."),
    click.option("--vm-rate-bdt", help="Price of the machine for an hour, in BDT."),
    click.option("--margin-bdt", help="What is added to it, in BDT."),
    click.option("--self-service-max", type=int, help="The highest quota that a project's administrator may set."),
    examples=(
        "instance-type set --name cpu-small --cpu-millis 500 --memory-mib 5120",
        "instance-type set --name gpu-a10-1x --cpu-millis 8000 --memory-mib 65536 --accelerator a10 --accelerator-count 1",
    ),
    fields=FIELDS,
)
def set_(session: Session, name: str, **spec: Any) -> None:
    """Create or replace an instance type (region administrators)."""
    found = session.client.instance_types.apply(name, **given(**spec))
    session.out.done(f"instance type {name} set", found)


@verb(instance_type, "list", examples=("instance-type list",))
def list_(session: Session) -> None:
    """List the instance types of the region."""
    found = session.client.instance_types.list().all()
    rows = [
        (
            t.metadata.name,
            f"{t.spec.accelerator_count}x {t.spec.accelerator}" if t.spec.accelerator else "",
            t.spec.cpu_millis,
            t.spec.memory_mib,
            t.spec.vm_rate_bdt,
        )
        for t in found
    ]
    session.out.rows(("name", "accelerator", "cpu millis", "memory MiB", "BDT/h"), rows, found)


@verb(instance_type, "delete", click.argument("name"), examples=("instance-type delete gpu-a10-1x",))
def delete(session: Session, name: str) -> None:
    """Delete an instance type that nothing uses (region administrators)."""
    session.client.instance_types.delete(name)
    session.out.done(f"instance type {name} deleted")
