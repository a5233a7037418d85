"""What an endpoint's spec refers to, and what is wrong with that; all of it at once."""

from uuid import UUID

from fleetform.domain import engine_args
from fleetform.domain.conditions import ConditionType, condition
from fleetform.domain.decode import escape
from fleetform.domain.endpoint_spec import EndpointSpec
from fleetform.domain.machine import InstanceTypeSpec
from fleetform.domain.model import ModelVersion
from fleetform.domain.names import split_model_ref
from fleetform.errors import FieldError, InvalidSpec
from fleetform.store import database, models
from fleetform.store.machines import BUILT_IN_ENGINE


async def hold(project: str, spec: EndpointSpec) -> frozenset[UUID]:
    """The uids of the versions that spec names. They and the instance type stay until the transaction ends.

    InvalidSpec with every reference that does not exist, was refused, or takes other engine arguments.
    """
    instance_type = await _instance_type(spec.instance_type)
    versions = await _versions(project, spec)
    errors = []
    if instance_type is None:
        errors.append(FieldError("/spec/instance_type", f"no instance type {spec.instance_type!r}", "not_found"))
    for name, variant in spec.variants.items():
        at = f"/spec/variants/{escape(name)}"
        version = versions.get(variant.model_version)
        if version is None:
            errors.append(FieldError(f"{at}/model_version", f"no model version {variant.model_version!r} in this project", "not_found"))
            continue
        verified = condition(version.status.conditions, ConditionType.VERIFIED)
        if models.is_settled(version) and verified is not None and not verified.status:
            words = f"{variant.model_version} was refused ({verified.reason}): {verified.message}"
            errors.append(FieldError(f"{at}/model_version", words, "not_verified"))
        engine = version.spec.engine or BUILT_IN_ENGINE
        devices = None if instance_type is None else instance_type.accelerator_count or 0
        errors += engine_args.problems(engine, variant.engine_args or {}, f"{at}/engine_args", devices)
    if errors:
        raise InvalidSpec(tuple(errors))
    return frozenset(UUID(version.metadata.uid) for version in versions.values())


async def _instance_type(name: str) -> InstanceTypeSpec | None:
    found = await database.rows("SELECT spec FROM instance_type WHERE name = {} FOR SHARE", name)
    return database.decode(InstanceTypeSpec, found[0]["spec"]) if found else None


async def _versions(project: str, spec: EndpointSpec) -> dict[str, ModelVersion]:
    """The registered versions among those that spec names, by reference."""
    wanted = [split_model_ref(variant.model_version) for variant in spec.variants.values()]
    pairs = sorted({pair for pair in wanted if pair is not None})
    found = await database.rows(
        "SELECT * FROM model_version WHERE project = {} AND deleted_at IS NULL"
        " AND (model, version) IN (SELECT * FROM unnest({}::text[], {}::text[])) ORDER BY id FOR SHARE",
        project,
        [model for model, _ in pairs],
        [version for _, version in pairs],
    )
    return {f"{row['model']}:{row['version']}": models.of_row(row) for row in found}
