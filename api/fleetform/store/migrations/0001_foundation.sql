CREATE TABLE project (
    name text PRIMARY KEY,
    uid uuid NOT NULL,
    generation bigint NOT NULL,
    created_at timestamptz NOT NULL,
    spec jsonb NOT NULL
);

CREATE TABLE role_binding (
    id bigserial PRIMARY KEY,
    project text NOT NULL,
    principal text NOT NULL,
    uid uuid NOT NULL,
    generation bigint NOT NULL,
    created_at timestamptz NOT NULL,
    spec jsonb NOT NULL,
    CONSTRAINT role_binding_key UNIQUE (project, principal)
);
CREATE INDEX role_binding_principal ON role_binding (principal);

CREATE TABLE instance_type (
    name text PRIMARY KEY,
    uid uuid NOT NULL,
    generation bigint NOT NULL,
    created_at timestamptz NOT NULL,
    spec jsonb NOT NULL
);

CREATE TABLE engine (
    name text PRIMARY KEY,
    uid uuid NOT NULL,
    generation bigint NOT NULL,
    created_at timestamptz NOT NULL,
    spec jsonb NOT NULL
);

CREATE TABLE model_version (
    id bigserial PRIMARY KEY,
    project text NOT NULL,
    model text NOT NULL,
    version text NOT NULL,
    uid uuid NOT NULL UNIQUE,
    generation bigint NOT NULL,
    revision bigint NOT NULL,
    created_at timestamptz NOT NULL,
    deleted_at timestamptz,
    spec jsonb NOT NULL,
    status jsonb NOT NULL,
    manifest jsonb,
    verified boolean,
    pinned_digest text NOT NULL,
    CONSTRAINT model_version_key UNIQUE (project, model, version)
);
CREATE INDEX model_version_alive ON model_version (project, model, version) WHERE deleted_at IS NULL;
CREATE INDEX model_version_unverified ON model_version (id) WHERE deleted_at IS NULL AND verified IS NULL;
CREATE INDEX model_version_engine ON model_version ((spec ->> 'engine')) WHERE deleted_at IS NULL;

CREATE TABLE endpoint (
    uid uuid PRIMARY KEY,
    project text NOT NULL,
    name text NOT NULL,
    alive boolean NOT NULL,
    generation bigint NOT NULL,
    revision bigint NOT NULL,
    created_at timestamptz NOT NULL,
    deleting_at timestamptz,
    deleted_at timestamptz,
    instance_type text NOT NULL,
    booked integer NOT NULL,
    spec jsonb NOT NULL,
    effective jsonb NOT NULL,
    status jsonb NOT NULL,
    rollout jsonb,
    next_at timestamptz,
    retries integer NOT NULL,
    CONSTRAINT endpoint_alive_until_deleted CHECK (alive = (deleted_at IS NULL))
);
CREATE UNIQUE INDEX endpoint_alive_key ON endpoint (project, name) WHERE alive;
CREATE INDEX endpoint_next ON endpoint (next_at) WHERE alive;
CREATE INDEX endpoint_booked ON endpoint (instance_type, project) INCLUDE (uid, booked) WHERE alive;

CREATE TABLE endpoint_version (
    id bigserial PRIMARY KEY,
    endpoint_uid uuid NOT NULL,
    version_uid uuid NOT NULL,
    held_by text NOT NULL,
    CONSTRAINT endpoint_version_key UNIQUE (endpoint_uid, version_uid)
);
CREATE INDEX endpoint_version_version ON endpoint_version (version_uid);

CREATE TABLE quota (
    id bigserial PRIMARY KEY,
    project text NOT NULL,
    instance_type text NOT NULL,
    uid uuid NOT NULL,
    generation bigint NOT NULL,
    created_at timestamptz NOT NULL,
    spec jsonb NOT NULL,
    max_replicas integer NOT NULL,
    CONSTRAINT quota_key UNIQUE (project, instance_type)
);
CREATE INDEX quota_instance_type ON quota (instance_type);

CREATE TABLE token (
    id bigserial PRIMARY KEY,
    project text NOT NULL,
    name text NOT NULL,
    uid uuid NOT NULL UNIQUE,
    generation bigint NOT NULL,
    revision bigint NOT NULL,
    created_at timestamptz NOT NULL,
    spec jsonb NOT NULL,
    CONSTRAINT token_key UNIQUE (project, name)
);

CREATE TABLE credential (
    jti text PRIMARY KEY,
    token_uid uuid NOT NULL,
    project text NOT NULL,
    scope jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz
);
CREATE INDEX credential_token ON credential (token_uid, created_at);
CREATE INDEX credential_expires ON credential (expires_at);
CREATE INDEX credential_revoked ON credential (expires_at) WHERE revoked_at IS NOT NULL;

CREATE TABLE replica (
    replica_id text PRIMARY KEY,
    endpoint_uid uuid NOT NULL,
    phase text NOT NULL,
    changed_at timestamptz NOT NULL,
    body jsonb NOT NULL
);
CREATE INDEX replica_endpoint ON replica (endpoint_uid, replica_id);
CREATE INDEX replica_phase ON replica (phase);

CREATE TABLE reservation (
    replica_id text PRIMARY KEY,
    endpoint_uid uuid NOT NULL,
    project text NOT NULL,
    instance_type text NOT NULL,
    host text NOT NULL,
    cpu_millis integer NOT NULL,
    memory_mib integer NOT NULL
);
CREATE INDEX reservation_endpoint ON reservation (endpoint_uid);
CREATE INDEX reservation_quota ON reservation (instance_type, project) INCLUDE (endpoint_uid);
CREATE INDEX reservation_host ON reservation (host);

CREATE TABLE device_reservation (
    id bigserial PRIMARY KEY,
    replica_id text NOT NULL,
    host text NOT NULL,
    device text NOT NULL,
    CONSTRAINT device_reservation_key UNIQUE (host, device)
);
CREATE INDEX device_reservation_replica ON device_reservation (replica_id);

CREATE TABLE host (
    host text PRIMARY KEY,
    boot_id text NOT NULL,
    seen_at timestamptz NOT NULL,
    body jsonb NOT NULL
);

CREATE TABLE lease (
    shard text PRIMARY KEY,
    holder text NOT NULL,
    epoch bigint NOT NULL,
    expires_at timestamptz NOT NULL
);

CREATE TABLE event (
    seq bigserial PRIMARY KEY,
    subject uuid NOT NULL,
    project text NOT NULL,
    at timestamptz NOT NULL,
    kind text NOT NULL,
    reason text NOT NULL,
    message text NOT NULL,
    generation bigint NOT NULL,
    replica_id text
);
CREATE INDEX event_subject ON event (subject, seq);

CREATE TABLE change (
    name text PRIMARY KEY,
    value bigint NOT NULL
);
