"""The tables. JSONB columns hold msgspec JSON of domain structs; only the modules of this package read or write them.

The database itself is made by the files in migrations/, which also hold the indexes that Piccolo cannot say (partial ones); a test
compares both. No column is a foreign key: tombstones outlive what they point to, and the queries lock what they refer to.
"""

from piccolo.columns import (
    JSONB,
    UUID,
    BigInt,
    BigSerial,
    Boolean,
    DoublePrecision,
    Integer,
    Text,
    Timestamptz,
)
from piccolo.constraints import Unique
from piccolo.table import Table


class ProjectRow(Table, tablename="project"):
    name = Text(primary_key=True)
    uid = UUID(default=None, null=False)
    generation = BigInt(default=1)
    created_at = Timestamptz()
    spec = JSONB()


class RoleBindingRow(Table, tablename="role_binding"):
    """project `*`: the whole region."""

    id = BigSerial(primary_key=True)
    project = Text()
    principal = Text(index=True)
    uid = UUID(default=None, null=False)
    generation = BigInt(default=1)
    created_at = Timestamptz()
    spec = JSONB()
    role_binding_key = Unique(columns=["project", "principal"])


class InstanceTypeRow(Table, tablename="instance_type"):
    name = Text(primary_key=True)
    uid = UUID(default=None, null=False)
    generation = BigInt(default=1)
    created_at = Timestamptz()
    spec = JSONB()


class EngineRow(Table, tablename="engine"):
    name = Text(primary_key=True)
    uid = UUID(default=None, null=False)
    generation = BigInt(default=1)
    created_at = Timestamptz()
    spec = JSONB()


class ModelVersionRow(Table, tablename="model_version"):
    """deleted_at set: a tombstone, which keeps the digest. verified: null while verifying.

    pinned_digest: what the manifest's digest must be (what the client pinned, or the tombstone's), or empty.
    """

    id = BigSerial(primary_key=True)
    project = Text()
    model = Text()
    version = Text()
    uid = UUID(default=None, null=False, unique=True)
    generation = BigInt(default=1)
    revision = BigInt(default=1)
    created_at = Timestamptz()
    deleted_at = Timestamptz(null=True, default=None)
    spec = JSONB()
    status = JSONB()
    manifest = JSONB(null=True, default=None)
    verified = Boolean(null=True, default=None)
    pinned_digest = Text()
    model_version_key = Unique(columns=["project", "model", "version"])


class EndpointRow(Table, tablename="endpoint"):
    """deleting_at set: being torn down. alive false, deleted_at set: a tombstone. booked: replicas counted against the quota by PUT.

    Among the living, project and name are unique (a partial index).

    rollout: RolloutState. scaling: ScalingDecision.
    """

    uid = UUID(primary_key=True, default=None)
    project = Text()
    name = Text()
    alive = Boolean(default=True)
    generation = BigInt(default=1)
    revision = BigInt(default=1)
    created_at = Timestamptz()
    deleting_at = Timestamptz(null=True, default=None)
    deleted_at = Timestamptz(null=True, default=None)
    instance_type = Text()
    booked = Integer(default=0)
    spec = JSONB()
    effective = JSONB()
    status = JSONB()
    rollout = JSONB(null=True, default=None)
    scaling = JSONB(null=True, default=None)


class EndpointVersionRow(Table, tablename="endpoint_version"):
    """Which model versions an endpoint refers to. held_by: `spec`, or `bake` once the spec no longer names it and a track may still run."""

    id = BigSerial(primary_key=True)
    endpoint_uid = UUID(default=None, null=False, index=True)
    version_uid = UUID(default=None, null=False, index=True)
    held_by = Text()
    endpoint_version_key = Unique(columns=["endpoint_uid", "version_uid"])


class QuotaRow(Table, tablename="quota"):
    """max_replicas: a copy of the spec's. Whoever books locks this row first."""

    id = BigSerial(primary_key=True)
    project = Text()
    instance_type = Text()
    uid = UUID(default=None, null=False)
    generation = BigInt(default=1)
    created_at = Timestamptz()
    spec = JSONB()
    max_replicas = Integer()
    quota_key = Unique(columns=["project", "instance_type"])


class TokenRow(Table, tablename="token"):
    id = BigSerial(primary_key=True)
    project = Text()
    name = Text()
    uid = UUID(default=None, null=False, unique=True)
    generation = BigInt(default=1)
    revision = BigInt(default=1)
    created_at = Timestamptz()
    spec = JSONB()
    token_key = Unique(columns=["project", "name"])


class CredentialRow(Table, tablename="credential"):
    """jti is the id; the secret is never stored. scope: the Scope it was minted with, to tell a narrowed token from a widened one."""

    jti = Text(primary_key=True)
    token_uid = UUID(default=None, null=False, index=True)
    project = Text()
    scope = JSONB()
    created_at = Timestamptz()
    expires_at = Timestamptz(index=True)
    revoked_at = Timestamptz(null=True, default=None)


class ReplicaRow(Table, tablename="replica"):
    """body: domain Replica. phase and endpoint_uid are copies, for the indexes."""

    replica_id = Text(primary_key=True)
    endpoint_uid = UUID(default=None, null=False, index=True)
    phase = Text(index=True)
    changed_at = Timestamptz()
    body = JSONB()


class ReservationRow(Table, tablename="reservation"):
    """What a replica holds of a host, and one replica of the quota of its project and instance type."""

    replica_id = Text(primary_key=True)
    endpoint_uid = UUID(default=None, null=False, index=True)
    project = Text()
    instance_type = Text()
    host = Text(index=True)
    cpu_millis = Integer()
    memory_mib = Integer()


class DeviceReservationRow(Table, tablename="device_reservation"):
    """One device of one host; the unique key is what makes giving it twice impossible."""

    id = BigSerial(primary_key=True)
    replica_id = Text(index=True)
    host = Text()
    device = Text()
    device_reservation_key = Unique(columns=["host", "device"])


class HostRow(Table, tablename="host"):
    """The last report's facts. body: HostCapacity."""

    host = Text(primary_key=True)
    boot_id = Text()
    seen_at = Timestamptz()
    body = JSONB()


class LeaseRow(Table, tablename="lease"):
    """One row per shard; epoch only grows."""

    shard = Text(primary_key=True)
    holder = Text()
    epoch = BigInt(default=0)
    expires_at = Timestamptz()


class EventRow(Table, tablename="event"):
    """One line per status change or action. subject: uid of the endpoint or model version."""

    seq = BigSerial(primary_key=True)
    subject = UUID(default=None, null=False)
    project = Text()
    at = Timestamptz()
    kind = Text()
    reason = Text()
    message = Text()
    generation = BigInt(default=0)
    replica_id = Text(null=True, default=None)


class RolloutRow(Table, tablename="rollout"):
    """One move of an endpoint to a generation. body: domain Rollout."""

    id = BigSerial(primary_key=True)
    endpoint_uid = UUID(default=None, null=False)
    generation = BigInt()
    started_at = Timestamptz()
    body = JSONB()
    rollout_key = Unique(columns=["endpoint_uid", "generation", "started_at"])


class StartTimeRow(Table, tablename="start_time"):
    """How long one start of a version on an instance type took, from its placing to its first routed moment."""

    id = BigSerial(primary_key=True)
    model_version = Text()
    version_uid = UUID(default=None, null=False)
    instance_type = Text()
    at = Timestamptz()
    seconds = DoublePrecision()


TABLES: tuple[type[Table], ...] = (
    ProjectRow,
    RoleBindingRow,
    InstanceTypeRow,
    EngineRow,
    ModelVersionRow,
    EndpointRow,
    EndpointVersionRow,
    QuotaRow,
    TokenRow,
    CredentialRow,
    ReplicaRow,
    ReservationRow,
    DeviceReservationRow,
    HostRow,
    LeaseRow,
    EventRow,
    RolloutRow,
    StartTimeRow,
)
